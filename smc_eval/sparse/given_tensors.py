"""Given tensors: what a plugin gave where tensors by name were wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from smc_eval.errors import named_value


def wrong_tensors(given: object) -> str:
    """What a plugin gave instead of real, dense tensors by name, in words; empty if nothing is wrong.

    Shapes, and which names there must be, are for the caller to check.
    """
    if not isinstance(given, Mapping):
        return f"{named_value(given)} instead of tensors by name"
    for name, tensor in given.items():
        if not isinstance(name, str):
            return f"{named_value(name)} instead of the name of a tensor"
        if not isinstance(tensor, Tensor):
            return f"{named_value(tensor)} instead of a tensor for {name!r}"
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_complex():
            kind = f"{tensor.layout}, {tensor.dtype} on {tensor.device}"
            return f"a tensor for {name!r} without plain real values ({kind})"
    return ""


def is_finite(values: Tensor) -> bool:
    """Whether all values are finite numbers. The extremes show it in one pass, without a tensor of bools."""
    return not values.numel() or all(math.isfinite(float(end)) for end in values.aminmax())
