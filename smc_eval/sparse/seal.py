"""Seals: short numbers that tell whether the bits of a tensor have changed."""

from __future__ import annotations

import torch
from torch import Tensor

from smc_eval.sparse.net import WHOLE_NUMBERS


def seal(tensor: Tensor) -> tuple[int, int]:
    """Two sums over the bits of a tensor, by its rows and by its columns. Almost every write changes one."""
    if not tensor.numel():
        return 0, 0
    bits = tensor.view(WHOLE_NUMBERS[tensor.element_size()]).reshape(len(tensor), -1)
    sums = [bits.sum(dim, dtype=torch.int64) for dim in (0, 1)]
    by_column, by_row = (
        int((each * torch.arange(1, len(each) + 1, device=each.device)).sum()) for each in sums
    )
    return by_column, by_row
