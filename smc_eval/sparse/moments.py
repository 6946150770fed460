"""Moments: mean, variance and square of each input that a weight multiplies, over all rows.

Shapes: N rows, I inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from smc_eval.sparse.input_stats import InputStats

SUMS = 3
"""Sums of each input: rows, inputs, squares."""

FLAT = 1e-12
"""Share of its mean square below which a variance is rounding: the input is constant."""


class Moments(NamedTuple):
    """Statistics of the inputs of a band, in double precision. An input without rows has zeros."""

    mean_I: Tensor
    variance_I: Tensor
    """Over all rows together, divided by their number."""
    square_I: Tensor
    """Mean of the squares."""


class PowerSums(InputStats):
    """Rows, sum and sum of squares of each input: 3 I numbers of double precision for each weight tensor."""

    @classmethod
    def size(cls, weight: Tensor) -> int:
        return 8 * SUMS * weight[0].numel()

    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        return torch.zeros(SUMS, inputs, dtype=torch.float64, device=weight.device)

    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        x_NI = x_NI.to(torch.float64)  # the variance is a difference of two large numbers
        total[0, columns] += len(x_NI)
        total[1, columns] += x_NI.sum(0)
        total[2, columns] += x_NI.square().sum(0)


class GramsAndSums(PowerSums):
    """The same three sums, and below them the sum of products of each pair of inputs, as `Grams`."""

    @classmethod
    def size(cls, weight: Tensor) -> int:
        return 8 * (SUMS + weight[0].numel()) * weight[0].numel()

    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        return torch.zeros(SUMS + inputs, inputs, dtype=torch.float64, device=weight.device)

    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        super().add(total, columns, x_NI)
        x_NI = x_NI.to(torch.float64)
        total[SUMS:][columns, columns].addmm_(x_NI.T, x_NI)


def moments(total: Tensor) -> Moments:
    """The moments of a band, from its sums."""
    rows_I, sum_I, squares_I = total[:SUMS]
    mean_I, square_I = (total_I / rows_I.clamp_min(1) for total_I in (sum_I, squares_I))
    variance_I = square_I - mean_I.square()
    return Moments(mean_I, variance_I.masked_fill(variance_I <= FLAT * square_I, 0), square_I)
