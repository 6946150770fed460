"""Masks that are given: read from zeros, ones or bits under somebody else's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.bits import unpacked

Content = Literal["weights", "masks"]


def custom_masks(
    weights: Mapping[str, Tensor], found: Mapping[str, Tensor], kind: Content
) -> dict[str, Tensor]:
    """A mask for each weight, True stays, from what was found under names of the like.

    Of found weights, whatever is not exactly zero stays; found masks say it by 1 or True, or packed
    as the store packs them. A weight for which nothing was found is whole.

    Raises:
        SparsityError: no name fits, or several fit equally well; a shape or a mask's value is wrong;
            or nothing is pruned.
    """
    names = paired(list(weights), list(found))
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    for name, theirs in names.items():
        read = nonzero if kind == "weights" else written_mask
        masks[name] = read(theirs, found[theirs], name, weights[name].shape).to(weights[name].device)
    if all(bool(mask.all()) for mask in masks.values()):
        what = "no weight that they hold is exactly zero" if kind == "weights" else "every mask is all ones"
        raise SparsityError(
            f"the given {kind} prune nothing in scope: {what}, in {len(names)} tensors; "
            "give a pruned checkpoint"
        )
    return masks


def paired(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Whose tensor is whose: where no name is equal, those that are but for a beginning on either side.

    A net wraps a checkpoint's modules in its own, so that `words.net.layer.0.weight` is
    `bert.layer.0.weight` there. One pair of beginnings holds for all names: that under which the
    most agree, each by the longest ending that any other has, a module and its parameter at least.

    Raises:
        SparsityError: no name fits, or two pairs of beginnings fit equally well.
    """
    held = set(theirs)
    if exact := {name: name for name in ours if name in held}:
        return exact
    ends: dict[str, list[str]] = {}
    for name in theirs:
        for ending in _endings(name):
            ends.setdefault(ending, []).append(name)
    votes = Counter[tuple[str, str]]()
    for name in ours:
        longest = next((ending for ending in _endings(name) if ending in ends), None)
        if longest:
            votes.update((_beginning(name, longest), _beginning(other, longest)) for other in ends[longest])
    ranked = votes.most_common(2)
    if not ranked:
        raise SparsityError(
            f"no name of what is given fits one in scope: given {_some(theirs)}; in scope {_some(ours)}"
        )
    (pair, most), *others = ranked
    if others and others[0][1] == most:
        (mine, yours), (mine_too, yours_too) = pair, others[0][0]
        raise SparsityError(
            f"names of what is given are ambiguous: {mine + '…'!r} could be {yours + '…'!r}, or "
            f"{mine_too + '…'!r} be {yours_too + '…'!r}, for {most} tensors each"
        )
    mine, yours = pair
    alike = {name: yours + name[len(mine) :] for name in ours if name.startswith(mine)}
    return {name: other for name, other in alike.items() if other in held}


def nonzero(theirs: str, weight: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """True where a weight is anything but zero."""
    _check(theirs, weight, name, shape)
    return weight != 0


def written_mask(theirs: str, mask: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """A mask as it was written down: bool, zeros and ones, or eight to a byte."""
    size = torch.Size(shape).numel()
    if mask.dtype == torch.uint8 and mask.shape == (-(-size // 8),) and mask.shape != tuple(shape):
        return unpacked(mask, tuple(shape))
    _check(theirs, mask, name, shape)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise SparsityError(f"the given mask {theirs!r} holds other values than 0 and 1")
    return mask == 1


def _check(theirs: str, tensor: Tensor, name: str, shape: Sequence[int]) -> None:
    if tensor.shape != tuple(shape):
        raise SparsityError(
            f"{theirs!r} is {tuple(tensor.shape)} in what is given, {tuple(shape)} as {name!r} in the net; "
            "is it of another model?"
        )


def _endings(name: str) -> list[str]:
    """What a name may share with another, the longest first."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(max(1, len(parts) - 1))]


def _beginning(name: str, ending: str) -> str:
    return name[: len(name) - len(ending)]


def _some(names: Collection[str]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:2])
    return f"{shown} and {len(names) - 2} more" if len(names) > 2 else shown or "nothing"
