"""Input statistics: sums over all rows that weights multiply, of squares or of products.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.inputs import Region

Band = tuple[slice, Tensor | None]
"""Rows of a weight that multiplied the same inputs, and the sum over these; None if there were none."""


class InputStats(ABC):
    """An observer that adds up and stores no row, so its sums do not depend on the batch size."""

    def __init__(self, weights: Mapping[str, Tensor], names: Collection[str]) -> None:
        """`names` are the weights whose inputs are summed."""
        self.weights, self.names = weights, frozenset(names)
        self.sums: dict[str, dict[tuple[int, int], Tensor]] = {name: {} for name in names}

    def __call__(self, name: str, region: Region, x_NI: Tensor) -> None:
        if name not in self.names:
            return
        rows, columns = region
        self.add(self.sum_at((name, rows.start, rows.stop)), columns, x_NI)

    def keys(self) -> list[tuple[str, int, int]]:
        """The keys of all sums: a weight's name, its first row, and the row after its last."""
        return [(name, *rows) for name, sums in self.sums.items() for rows in sums]

    def sum_at(self, key: tuple[str, int, int]) -> Tensor:
        """The sum over all inputs of these rows of a weight; zeros if there were none yet."""
        name, first, last = key
        sums, weight = self.sums[name], self.weights[name]
        if (first, last) not in sums:
            sums[first, last] = self.zero(weight[0].numel(), weight)
        return sums[first, last]

    @abstractmethod
    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        """The sum over no rows."""

    @abstractmethod
    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        """Add the inputs of some columns to a sum."""

    def bands(self, name: str) -> Iterator[Band]:
        """A weight's rows in bands of equal inputs; most weights are one band.

        Raises:
            SparsityError: inputs were not finite numbers, or too large to be squared.
        """
        sums, rows = self.sums[name], len(self.weights[name])
        if not all(bool(total.isfinite().all()) for total in sums.values()):
            raise SparsityError(
                f"the inputs that {name!r} multiplies are not finite; train it with a lower lr"
            )
        edges = sorted({0, rows, *(edge for span in sums for edge in span)})
        for start, stop in pairwise(edges):
            over = [total for (first, last), total in sums.items() if first <= start and stop <= last]
            yield slice(start, stop), (sum(over[1:], over[0]) if over else None)


class Squares(InputStats):
    """The sum of squares of each input: I numbers of double precision for each weight tensor."""

    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        return torch.zeros(inputs, dtype=torch.float64, device=weight.device)

    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        total[columns] += x_NI.float().square().sum(0)

    def scaled(self, name: str) -> Tensor:
        """Magnitudes of a weight, each times the norm of its input; times 1 where no input was seen."""
        weight = self.weights[name]
        values_OI = weight.abs().flatten(1)
        for rows, squares_I in self.bands(name):
            if squares_I is not None:
                values_OI[rows] *= squares_I.sqrt().to(values_OI.dtype)
        return values_OI.view(weight.shape)


class Grams(InputStats):
    """The sum of products of each pair of inputs, X^T X: I x I numbers of single precision for each tensor.

    Products between two groups of columns that multiplied inputs at different times are taken as 0.
    """

    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        return torch.zeros(inputs, inputs, device=weight.device)

    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        x_NI = x_NI.float()
        total[columns, columns].addmm_(x_NI.T, x_NI)
