"""Zeros: what the values of one tensor show of its sparsity, without its net."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ZeroCounts:
    """Counts of one tensor. Rows are its first dimension, columns all others joined."""

    shape: tuple[int, ...]
    dtype: str
    zeros: int
    negative_zeros: int
    """Of the zeros, those with a minus sign."""
    not_finite: int
    """NaN and infinite values."""
    dead_rows: int
    """Rows without any value but zero; 0 for vectors."""
    dead_columns: int
    groups: int
    """Groups of M consecutive values of a row; a rest that is shorter does not count."""
    fitting: int
    """Of these groups, those with at most N values that are not zero."""

    @property
    def size(self) -> int:
        """Number of values."""
        return torch.Size(self.shape).numel()

    @property
    def sparsity(self) -> float:
        """Share of zeros, in [0, 1]."""
        return self.zeros / self.size if self.size else 0.0


def count_zeros(tensor: Tensor, n: int, m: int) -> ZeroCounts:
    """The counts of a tensor of floats, with groups of N:M."""
    values = tensor.float() if tensor.element_size() == 1 else tensor
    zero = values == 0
    rows = columns = groups = fitting = 0
    if tensor.dim() >= 2 and tensor.numel():
        alive_RC = ~zero.reshape(len(tensor), -1)
        rows, columns = (int((~alive_RC.any(dim)).sum()) for dim in (1, 0))
        whole = alive_RC.shape[1] - alive_RC.shape[1] % m
        counts = alive_RC[:, :whole].reshape(-1, m).sum(1)
        groups, fitting = len(counts), int((counts <= n).sum())
    return ZeroCounts(
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
        zeros=int(zero.sum()),
        negative_zeros=int((zero & values.signbit()).sum()),
        not_finite=int((~values.isfinite()).sum()),
        dead_rows=rows,
        dead_columns=columns,
        groups=groups,
        fitting=fitting,
    )
