"""Foreign masks: pruned weights and masks as other libraries store them, turned into plain tensors.

Formats: bitmasks of compressed-tensors (https://github.com/vllm-project/compressed-tensors), and the masks of
NNCF (https://github.com/openvinotoolkit/nncf), as files hold them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from smc_eval.errors import SparsityError

BITMASK, VALUES, SHAPE, OFFSETS = ".bitmask", ".compressed", ".shape", ".row_offsets"
"""Endings of the parts of a packed weight; its own name stands before them."""

NNCF_HOOK = re.compile(r"(.*?)__nncf_hooks\.\w+\.(.+)__0\.\d+\.(binary_mask|mask)$")
"""The mask of a weight: of NNCF 2.15 and later, with `:` for the dots of the weight's name."""

NNCF_OPERATION = re.compile(r"(.+)\.pre_ops\.\d+\.op\._?binary_mask$")
"""The mask of a module's weight: of earlier versions."""


def without_foreign_forms(
    tensors: Mapping[str, Tensor], content: Literal["weights", "masks"]
) -> dict[str, Tensor]:
    """The weights, zero where they are pruned, or the masks; those of other libraries under plain names.

    Raises:
        SparsityError: a part of a packed weight is missing or does not fit, or a mask has no weight.
    """
    plain = dict(tensors)
    for name in [name.removesuffix(BITMASK) for name in tensors if name.endswith(BITMASK)]:
        parts = {ending: plain.pop(name + ending, None) for ending in (BITMASK, VALUES, SHAPE, OFFSETS)}
        mask = _unpacked(name, parts[BITMASK], parts[SHAPE])
        plain[name] = mask if content == "masks" else _filled(name, mask, parts[VALUES])
    for name in list(tensors):
        weight_name = _nncf_weight(name)
        if weight_name is None:
            continue
        stored = plain.pop(name)
        # a learned mask is a logit, whose sign decides
        mask = stored > 0 if name.endswith(".mask") else stored != 0
        plain[weight_name] = mask if content == "masks" else _masked(name, mask, weight_name, plain)
    return plain


def _nncf_weight(name: str) -> str | None:
    """The name of the weight that a tensor of NNCF masks; None for any other tensor."""
    if found := NNCF_HOOK.match(name):
        return found[1] + found[2].replace(":", ".")
    if found := NNCF_OPERATION.match(name):
        return f"{found[1]}.weight"
    return None


def _unpacked(name: str, bits_RB: Tensor | None, shape: Tensor | None) -> Tensor:
    """The mask [R, C] of a bitmask [R, ⌈C/8⌉], of which the lowest bit comes first."""
    if bits_RB is None or shape is None or bits_RB.dtype != torch.uint8:
        raise SparsityError(f"the packed weight {name!r} has no {SHAPE!r} beside its {BITMASK!r} of bytes")
    rows_columns = [int(size) for size in shape.flatten()]
    expected = (*rows_columns[:-1], -(-rows_columns[-1] // 8))
    if tuple(bits_RB.shape) != expected:
        raise SparsityError(
            f"the bitmask of {name!r} is {tuple(bits_RB.shape)}; "
            f"for a weight {tuple(rows_columns)} it is {expected}"
        )
    flags = np.unpackbits(bits_RB.cpu().numpy(), axis=-1, count=rows_columns[-1], bitorder="little")
    return torch.from_numpy(flags).bool().reshape(rows_columns)


def _filled(name: str, mask: Tensor, values: Tensor | None) -> Tensor:
    """A weight with its values where the mask is True, row by row."""
    count = int(mask.sum())
    if values is None or values.numel() != count:
        found = "none" if values is None else str(values.numel())
        raise SparsityError(f"the packed weight {name!r} has {found} values for {count} bits of its bitmask")
    weight = torch.zeros(mask.shape, dtype=values.dtype)
    weight[mask] = values.flatten()
    return weight


def _masked(name: str, mask: Tensor, weight_name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """A weight with zeros where the mask is False."""
    weight = tensors.get(weight_name)
    if weight is None or weight.shape != mask.shape:
        raise SparsityError(
            f"the mask {name!r} of NNCF is for {weight_name!r}, which is not in the file, or has another "
            "shape; give the whole checkpoint"
        )
    return weight.masked_fill(~mask, 0)
