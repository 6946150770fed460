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
    """An observer that adds up and keeps no row, so its sums do not depend on the batch size."""

    def __init__(self, weights: Mapping[str, Tensor], names: Collection[str]) -> None:
        """`names` are the weights whose inputs are summed."""
        self.weights, self.names = weights, frozenset(names)
        self.sums: dict[str, dict[tuple[int, int], Tensor]] = {name: {} for name in names}

    def __call__(self, name: str, place: Region, x_NI: Tensor) -> None:
        if name not in self.names:
            return
        rows, columns = place
        self.add(self.sum_at((name, rows.start, rows.stop)), columns, x_NI)

    def keys(self) -> list[tuple[str, int, int]]:
        """Which sums there are: a weight, and the first row and the end of its rows."""
        return [(name, *rows) for name, sums in self.sums.items() for rows in sums]

    def sum_at(self, key: tuple[str, int, int]) -> Tensor:
        """The sum over what these rows of a weight multiplied; zeros if nothing was seen yet."""
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
        """Add the rows that some columns multiplied to a sum."""

    def bands(self, name: str) -> Iterator[Band]:
        """A weight's rows, cut where their inputs differ: most weights are one band.

        Raises:
            SparsityError: the net gave inputs that are no finite numbers, or too large to be squared.
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
    """Of each input the sum of its squares: I numbers of double precision a weight."""

    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        return torch.zeros(inputs, dtype=torch.float64, device=weight.device)

    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        total[columns] += x_NI.float().square().sum(0)

    def scaled(self, name: str) -> Tensor:
        """Magnitudes of a weight, each times the norm of its input; times 1 where there was none."""
        weight = self.weights[name]
        values_OI = weight.abs().flatten(1)
        for rows, squares_I in self.bands(name):
            if squares_I is not None:
                values_OI[rows] *= squares_I.sqrt().to(values_OI.dtype)
        return values_OI.view(weight.shape)


class Grams(InputStats):
    """Of each pair of inputs the sum of their products, X^T X: I x I numbers of single precision a weight.

    What two groups of columns multiplied at different times is taken to have nothing in common:
    their products are 0.
    """

    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        return torch.zeros(inputs, inputs, device=weight.device)

    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        x_NI = x_NI.float()
        total[columns, columns].addmm_(x_NI.T, x_NI)
