"""Plain tensors: the weights of a state dict, whatever form a library stores them in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from smc_eval.errors import SparsityError

FileContent = Literal["weights", "masks"]

WRAPPERS = frozenset(
    {
        "module",  # torch.nn.DataParallel, DistributedDataParallel
        "_orig_mod",  # torch.compile
        "_fsdp_wrapped_module",  # FSDP
        "_fpw_module",  # FSDP of torch 1
        "_checkpoint_wrapped_module",  # torch's activation checkpointing
        "_forward_module",  # Lightning Fabric
        "_module",  # Opacus
    }
)
"""Parts that a wrapper of a module adds to names. They may stand anywhere in a name."""

DEPTH = 4
"""Levels of dicts in a file that are searched for a state dict."""

_PRUNED = re.compile(r"(?P<stem>.+)_(orig|mask)")
_NORMED = re.compile(r"(?P<head>(.+\.)?)parametrizations\.(?P<own>\w+)\.original(?P<part>[01])")


def find_state_dict(content: object) -> dict[str, Tensor]:
    """The only state dict in the content of a file: itself, or a dict inside it such as `state_dict`.

    Optimizer states are not searched. Entries that are no tensors are left out.

    Raises:
        ValueError: there is none, or there are several; the message says which.
    """
    found = dict[str, dict[str, Tensor]]()
    _search(content, "", DEPTH, found)
    # a history of losses is a tensor too; masks as bits are flat
    chosen = {p: s for p, s in found.items() if any(t.ndim > 1 for t in s.values())} or found
    if not chosen:
        raise ValueError("it must map names to tensors")
    if len(chosen) > 1:
        raise ValueError(f"it holds several: {', '.join(map(repr, chosen))}; save one of them alone")
    return next(iter(chosen.values()))


def _search(content: object, place: str, depth: int, found: dict[str, dict[str, Tensor]]) -> None:
    if not isinstance(content, Mapping) or not depth or "param_groups" in content:
        return
    if not all(isinstance(key, str) for key in content):
        return
    if own := {key: value for key, value in content.items() if isinstance(value, Tensor)}:
        found[place or "the file itself"] = own
    for key, value in content.items():
        _search(value, f"{place}.{key}" if place else key, depth - 1, found)


def plain_tensors(given: Mapping[str, Tensor], content: FileContent) -> dict[str, Tensor]:
    """Dense tensors by the names of their weights, from any of the forms below.

    Sparse and quantized layouts become dense. `torch.nn.utils.prune` stores `weight_orig` and `weight_mask`:
    their product is the weight. Weight norm stores size and direction: their product is zero where the
    weight is. With content "masks", the mask of each pair is taken.

    Raises:
        SparsityError: a tensor cannot be read, one of a pair is missing or of another shape, or an adapter
            changes the weights.
    """
    tensors = {name: _dense(name, tensor) for name, tensor in given.items()}
    if adapter := next((name for name in tensors if re.search(r"\blora_|\bhada_|\blokr_", name)), None):
        raise SparsityError(
            f"the given {adapter!r} is of an adapter, which fills the zeros of a weight; merge it first"
        )
    plain = dict[str, Tensor]()
    pairs = dict[str, dict[str, tuple[str, Tensor]]]()
    for name, tensor in tensors.items():
        if key := _pair_of(name, tensors):
            weight, part = key
            pairs.setdefault(weight, {})[part] = name, tensor
        elif "parametrizations." in name:
            raise SparsityError(
                f"the given {name!r} is part of a parametrized weight that cannot be computed; "
                "remove the parametrization before you save"
            )
        else:
            plain[name] = tensor
    for name, pair in pairs.items():
        if name in plain:
            other = next(iter(pair.values()))[0]
            raise SparsityError(f"the given tensors have {name!r} twice: also as {other!r}")
        plain[name] = _joined(name, pair, content)
    return plain


def _pair_of(name: str, names: Collection[str]) -> tuple[str, str] | None:
    """The weight that a stored tensor is a part of, and which: its value, its mask, or the whole."""
    if match := _PRUNED.fullmatch(name):
        stem = match["stem"]
        if f"{stem}_u" in names:  # spectral norm divides the weight by a number, and so keeps its zeros
            return stem, "whole"
        if f"{stem}_orig" in names or (name.endswith("_mask") and "weight" in stem.rpartition(".")[2]):
            return stem, "value" if name.endswith("_orig") else "mask"
    if match := _NORMED.fullmatch(name):
        return match["head"] + match["own"], "value" if match["part"] == "1" else "mask"
    if name.endswith(("weight_g", "weight_v")) and f"{name[:-1]}g" in names and f"{name[:-1]}v" in names:
        return name[:-2], "value" if name.endswith("v") else "mask"
    return None


def _joined(name: str, pair: Mapping[str, tuple[str, Tensor]], content: FileContent) -> Tensor:
    """The weight of a pair, or its mask."""
    if "whole" in pair:
        return pair["whole"][1]
    if content == "masks" and "mask" in pair:
        return pair["mask"][1]
    if len(pair) < 2:
        there, lacks = next(iter(pair.values()))[0], "mask" if "value" in pair else "value"
        raise SparsityError(f"the given {there!r} has no {lacks} of {name!r} beside it; give the whole file")
    (value_name, value), (mask_name, mask) = pair["value"], pair["mask"]
    norm = value_name.endswith(("_v", "original1"))
    if mask.shape != value.shape and not (norm and mask.ndim == value.ndim):
        raise SparsityError(
            f"the given {mask_name!r} is {tuple(mask.shape)}, but {value_name!r} is {tuple(value.shape)}"
        )
    return torch.where(mask != 0, value, torch.zeros_like(value))


def _dense(name: str, tensor: Tensor) -> Tensor:
    """A tensor in the ordinary layout, with ordinary numbers."""
    if tensor.is_meta:
        raise SparsityError(f"the given {name!r} has a shape and no values (device 'meta')")
    try:
        plain = tensor.detach()
        if plain.layout != torch.strided or plain.is_nested:
            plain = plain.to_dense()
        if plain.is_quantized:
            plain = plain.dequantize()
        # numbers of one byte, which cannot be compared on a CPU
        return plain.float() if plain.is_floating_point() and plain.dtype.itemsize == 1 else plain
    except (RuntimeError, NotImplementedError):
        raise SparsityError(
            f"the given {name!r} has a layout that cannot be read ({tensor.layout}); save it dense"
        ) from None


def bare(name: str) -> str:
    """A name without the parts that wrappers add."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def by_bare_name(names: Iterable[str]) -> dict[str, str]:
    """Names by their bare names.

    Raises:
        SparsityError: two names differ only in the parts of wrappers.
    """
    found = dict[str, str]()
    for name in names:
        if (first := found.setdefault(bare(name), name)) != name:
            raise SparsityError(f"the given {first!r} and {name!r} are of one weight; keep one of them")
    return found
