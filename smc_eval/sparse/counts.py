"""Counts and comparisons of masks. On a CPU numpy's are five to ten times as fast as torch's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def count_true(mask: Tensor) -> int:
    """How many elements of a bool tensor are True."""
    if mask.device.type == "cpu":
        return int(np.count_nonzero(mask.numpy()))
    return int(mask.count_nonzero())


def equal_masks(mask: Tensor, other: Tensor) -> bool:
    """Whether two bool tensors have the same shape and elements."""
    if mask.device.type == other.device.type == "cpu":
        return np.array_equal(mask.numpy(), other.numpy())
    return torch.equal(mask, other)
