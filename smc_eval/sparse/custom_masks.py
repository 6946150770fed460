"""Custom masks: read from pruned weights, zeros and ones, or packed bits, whose names may differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.bits import unpacked
from smc_eval.sparse.plain_tensors import FileContent, bare, by_bare_name, plain_tensors


class MatchedMasks(NamedTuple):
    """Masks of all weights in scope, and which of them were found."""

    masks: dict[str, Tensor]
    """True stays. A weight that was not found stays whole."""
    matched: tuple[str, ...]
    """The weights in scope that have a tensor of equal or similar name."""

    @property
    def coverage(self) -> str:
        """How many tensors were found, in words; names the first that was not."""
        missing = [name for name in self.masks if name not in self.matched]
        count = f"{len(self.matched)} of {len(self.masks)} tensors in scope found"
        if not missing:
            return count
        others = f" and {len(missing) - 1} more stay" if len(missing) > 1 else " stays"
        return f"{count}; {missing[0]!r}{others} whole"


def custom_masks(
    weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor], kind: FileContent
) -> MatchedMasks:
    """A mask for each weight, True stays, from tensors of equal or similar names.

    `kind` "weights": every value that is not exactly zero stays. "masks": 1 or True stays; masks may
    also be packed as the store packs them. Tensors can have any form of `plain_tensors`.

    Raises:
        SparsityError: no name matches, or several match equally well; a tensor cannot be read; a shape or a
            mask's value is wrong; or nothing is pruned.
    """
    plain = tensors if tensors is weights else plain_tensors(tensors, kind)  # a net's own names are plain
    names = matched_names(list(weights), list(plain))
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    for name, given_name in names.items():
        read = nonzero_mask if kind == "weights" else written_mask
        masks[name] = read(given_name, plain[given_name], name, weights[name].shape).to(weights[name].device)
    made = MatchedMasks(masks, tuple(names))
    if all(bool(mask.all()) for mask in masks.values()):
        reason = "none of them is exactly zero" if kind == "weights" else "every mask is all ones"
        raise SparsityError(
            f"the given {kind} prune nothing in scope: {len(names)} of {len(weights)} tensors in scope "
            f"found, and {reason}; give a pruned checkpoint"
        )
    return made


def matched_names(scope_names: Sequence[str], given_names: Sequence[str]) -> dict[str, str]:
    """The given name for each name in scope: the equal one, or one that differs only in its prefix.

    Parts that wrappers of modules add, such as `module` and `_orig_mod`, do not count. Equal names are taken
    alone, where there are any. Else prefixes are compared: a net wraps the modules of a checkpoint in its
    own, so `words.net.layer.0.weight` may be `bert.layer.0.weight` there. One pair of prefixes holds for
    all names. Each name in scope votes for the pairs that leave the longest suffix in common, at least a
    module and its parameter; the pair with most votes wins.

    Raises:
        SparsityError: no name matches, two pairs of prefixes have equally many votes, or two given names
            differ only in the parts of wrappers.
    """
    given = by_bare_name(given_names)
    names = _matched_bare_names([bare(name) for name in scope_names], list(given))
    return {name: given[names[bare(name)]] for name in scope_names if bare(name) in names}


def _matched_bare_names(scope_names: Sequence[str], given_names: Sequence[str]) -> dict[str, str]:
    available = set(given_names)
    if exact := {name: name for name in scope_names if name in available}:
        return exact
    by_suffix: dict[str, list[str]] = {}
    for name in given_names:
        for suffix in _suffixes(name):
            by_suffix.setdefault(suffix, []).append(name)
    votes = Counter[tuple[str, str]]()
    for name in scope_names:
        longest = next((suffix for suffix in _suffixes(name) if suffix in by_suffix), None)
        if longest:
            votes.update((_prefix(name, longest), _prefix(other, longest)) for other in by_suffix[longest])
    ranked = votes.most_common(2)
    if not ranked:
        raise SparsityError(
            f"no given name matches a name in scope: given {_some(given_names)}; "
            f"in scope {_some(scope_names)}"
        )
    (pair, most), *others = ranked
    if others and others[0][1] == most:
        (scope_prefix, given_prefix), (scope_other, given_other) = pair, others[0][0]
        raise SparsityError(
            f"the given names are ambiguous: {scope_prefix + '…'!r} could be {given_prefix + '…'!r}, or "
            f"{scope_other + '…'!r} be {given_other + '…'!r}, for {most} tensors each"
        )
    scope_prefix, given_prefix = pair
    candidates = {
        name: given_prefix + name[len(scope_prefix) :]
        for name in scope_names
        if name.startswith(scope_prefix)
    }
    return {name: other for name, other in candidates.items() if other in available}


def nonzero_mask(given_name: str, weight: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """True where a weight is not zero."""
    _check(given_name, weight, name, shape)
    return weight != 0


def written_mask(given_name: str, mask: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """A mask from any stored form: bool, zeros and ones, or eight bits to a byte."""
    size = torch.Size(shape).numel()
    if mask.dtype == torch.uint8 and mask.shape == (-(-size // 8),) and mask.shape != tuple(shape):
        return unpacked(mask, tuple(shape))
    _check(given_name, mask, name, shape)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise SparsityError(f"the given mask {given_name!r} has values other than 0 and 1")
    return mask == 1


def _check(given_name: str, tensor: Tensor, name: str, shape: Sequence[int]) -> None:
    if tensor.shape != tuple(shape):
        raise SparsityError(
            f"the given {given_name!r} is {tuple(tensor.shape)}, but {name!r} of the net is {tuple(shape)}; "
            "is it of another model?"
        )


def _suffixes(name: str) -> list[str]:
    """The suffixes that a name may share with another, the longest first."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(max(1, len(parts) - 1))]


def _prefix(name: str, suffix: str) -> str:
    return name[: len(name) - len(suffix)]


def _some(names: Collection[str]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:2])
    return f"{shown} and {len(names) - 2} more" if len(names) > 2 else shown or "nothing"
