"""Input statistics: sums over all rows that weights multiply, of squares or of products.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Literal

import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.inputs import Region

Band = tuple[slice, Tensor | None]
"""Outputs of a weight that multiplied the same inputs, and the sum over these; None if there were none."""

Layout = Literal["rows", "columns", "stacked rows", "stacked columns"]
"""Where the outputs of a weight lie: its rows, as of most; its columns, as in `x @ weight`; or the rows or
the columns of each matrix, where the weight is a stack of matrices such as the experts of a mixture."""

Key = tuple[str, int, int, Layout]
"""A weight's name, its first output, the output after its last, and its layout. Outputs of a stack are
numbered on from matrix to matrix."""


@dataclass(frozen=True)
class Addition:
    """The last addition to a sum. Another sum that was the same before it becomes the same."""

    x_NI: Tensor
    version: int
    """How often the inputs had been written to."""
    columns: slice
    before: int
    """State of the sum: equal states are equal sums."""
    after: int
    total: Tensor


class InputStats(ABC):
    """An observer that adds up and stores no row, so its sums do not depend on the batch size.

    Where several weights multiply the same inputs, as queries, keys and values do, these are added up once.
    """

    def __init__(self, weights: Mapping[str, Tensor], names: Collection[str]) -> None:
        """`names` are the weights whose inputs are summed."""
        self.weights, self.names = weights, frozenset(names)
        self.sums: dict[str, dict[tuple[int, int, Layout], Tensor]] = {name: {} for name in names}
        self._states: dict[Key, int] = {}
        self._numbers = count(1)
        self._last: Addition | None = None

    def __call__(self, name: str, region: Region, x_NI: Tensor) -> None:
        if name in self.names:
            rows, columns = region
            self._add((name, rows.start, rows.stop, "rows"), columns, x_NI)

    def transposed(self, name: str, region: Region, x_NI: Tensor) -> None:
        """The inputs of a weight whose rows are inputs."""
        if name in self.names:
            rows, columns = region
            self._add((name, columns.start, columns.stop, "columns"), rows, x_NI)

    def stacked(self, name: str, number: int, region: Region, x_NI: Tensor, *, turned: bool) -> None:
        """The inputs of one matrix of a stack."""
        if name not in self.names:
            return
        inputs, outputs = region if turned else region[::-1]
        before = number * self.weights[name].shape[2 if turned else 1]
        layout: Layout = "stacked columns" if turned else "stacked rows"
        self._add((name, before + outputs.start, before + outputs.stop, layout), inputs, x_NI)

    def _add(self, key: Key, columns: slice, x_NI: Tensor) -> None:
        """Add inputs to a sum, or copy the sum that had the same inputs so far."""
        total, before, last = self._sum(key), self._states.get(key, 0), self._last
        version = -1 if x_NI.is_inference() else x_NI._version  # noqa: SLF001 - counts writes
        if (
            last is not None
            and x_NI is last.x_NI
            and (version, columns, before) == (last.version, last.columns, last.before)
            and version >= 0
            and (total.shape, total.dtype, total.device)
            == (last.total.shape, last.total.dtype, last.total.device)
        ):
            total.copy_(last.total)
            self._states[key] = last.after
            return
        self.add(total, columns, x_NI)
        self._states[key] = after = next(self._numbers)
        self._last = Addition(x_NI, version, columns, before, after, total)

    def keys(self) -> list[Key]:
        """The keys of all sums."""
        return [(name, *span) for name, sums in self.sums.items() for span in sums]

    def sum_at(self, key: Key) -> Tensor:
        """The sum over all inputs of these outputs of a weight; zeros if there were none yet."""
        self._states[key], self._last = next(self._numbers), None  # whoever gets it may write to it
        return self._sum(key)

    def _sum(self, key: Key) -> Tensor:
        name, first, last, layout = key
        sums, weight = self.sums[name], self.weights[name]
        if (first, last, layout) not in sums:
            inputs = {
                "rows": weight[0].numel(),
                "columns": len(weight),
                "stacked rows": weight.shape[-1],
                "stacked columns": weight.shape[1],
            }
            sums[first, last, layout] = self.zero(inputs[layout], weight)
        return sums[first, last, layout]

    def layout(self, name: str) -> Layout:
        """Where the outputs of a weight lie; in its rows, if none of its inputs were seen.

        Raises:
            SparsityError: it was used in several ways.
        """
        layouts = {layout for _, _, layout in self.sums[name]}
        if len(layouts) > 1:
            raise SparsityError(
                f"{name!r} multiplies inputs by its rows and by its columns, so its weights have two inputs "
                "each; leave it out with --exclude, or choose a method that sees no inputs"
            )
        return layouts.pop() if layouts else "rows"

    def matrix(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor of a weight's shape as [O, I]; it may be a view. Matrices of a stack follow each other."""
        match self.layout(name):
            case "rows":
                return tensor.flatten(1)
            case "columns":
                return tensor.flatten(1).T
            case "stacked rows":
                return tensor.flatten(0, 1)
            case "stacked columns":
                return tensor.mT.flatten(0, 1)

    def shaped(self, name: str, matrix_OI: Tensor) -> Tensor:
        """The inverse of `matrix`."""
        shape = self.weights[name].shape
        match self.layout(name):
            case "columns":
                return matrix_OI.T.reshape(shape)
            case "stacked columns":
                return matrix_OI.reshape(shape[0], shape[2], shape[1]).mT.contiguous()
            case _:
                return matrix_OI.reshape(shape)

    def matrices(self, name: str) -> list[slice]:
        """The outputs of each matrix of a stack; of another weight, all of them."""
        weight = self.weights[name]
        outputs = self._outputs(name)
        height = outputs // len(weight) if self.layout(name).startswith("stacked") else outputs
        return [slice(first, first + height) for first in range(0, outputs, height)]

    def _outputs(self, name: str) -> int:
        """The number of outputs of a weight, of all matrices of a stack together."""
        weight = self.weights[name]
        match self.layout(name):
            case "rows":
                return len(weight)
            case "columns":
                return weight[0].numel()
            case "stacked rows":
                return len(weight) * weight.shape[1]
            case "stacked columns":
                return len(weight) * weight.shape[2]

    def refuse_pattern(self, pattern: str) -> None:
        """Refuse an N:M pattern if it would group the outputs of a weight: its groups lie along rows.

        Raises:
            SparsityError: the rows of a weight are inputs, and the pattern is not `free`.
        """
        turned = next(
            (name for name in self.sums if pattern != "free" and self.layout(name).endswith("columns")), None
        )
        if turned:
            raise SparsityError(
                f"pattern {pattern} groups weights along rows, and the rows of {turned!r} are inputs "
                "(x @ weight), so a group would have one input only; leave it out with --exclude"
            )

    @classmethod
    @abstractmethod
    def size(cls, weight: Tensor) -> int:
        """Bytes of the sum for a weight whose columns are inputs."""

    @abstractmethod
    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        """The sum over no rows."""

    @abstractmethod
    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        """Add the inputs of some columns to a sum."""

    def bands(self, name: str) -> Iterator[Band]:
        """A weight's outputs in bands of equal inputs; most weights are one band.

        Raises:
            SparsityError: inputs were not finite numbers, or too large to be squared; or `layout` raises.
        """
        sums, outputs = self.sums[name], self._outputs(name)
        if not all(bool(total.isfinite().all()) for total in sums.values()):
            raise SparsityError(
                f"the inputs that {name!r} multiplies are not finite; train it with a lower lr"
            )
        edges = sorted({0, outputs, *(edge for first, last, _ in sums for edge in (first, last))})
        over: list[list[Tensor]] = [[] for _ in edges[1:]]
        for (first, last, _), total in sums.items():
            for band in range(bisect_left(edges, first), bisect_left(edges, last)):
                over[band].append(total)
        for (start, stop), totals in zip(pairwise(edges), over, strict=True):
            yield slice(start, stop), (sum(totals[1:], totals[0]) if totals else None)


class Squares(InputStats):
    """The sum of squares of each input: I numbers of double precision for each weight tensor."""

    _room = torch.empty(0)
    """Memory for the squares, kept: a CPU takes longer for new memory than for them."""

    @classmethod
    def size(cls, weight: Tensor) -> int:
        return 8 * weight[0].numel()

    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        return torch.zeros(inputs, dtype=torch.float64, device=weight.device)

    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        x_NI = x_NI.float()
        size = x_NI.numel()
        if self._room.numel() < size or self._room.device != x_NI.device:
            self._room = torch.empty(size, device=x_NI.device)
        total[columns] += torch.square(x_NI, out=self._room[:size].view(x_NI.shape)).sum(0)

    def scaled(self, name: str) -> Tensor:
        """Magnitudes of a weight, each times the norm of its input; times 1 where no input was seen."""
        values_OI = self.matrix(name, self.weights[name].abs())
        for outputs, squares_I in self.bands(name):
            if squares_I is not None:
                values_OI[outputs] *= squares_I.sqrt().to(values_OI.dtype)
        return self.shaped(name, values_OI)


class Grams(InputStats):
    """The sum of products of each pair of inputs, X^T X: I x I numbers of single precision for each tensor.

    Products between two groups of columns that multiplied inputs at different times are taken as 0.
    """

    @classmethod
    def size(cls, weight: Tensor) -> int:
        return 4 * weight[0].numel() ** 2

    def zero(self, inputs: int, weight: Tensor) -> Tensor:
        return torch.zeros(inputs, inputs, device=weight.device)

    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        x_NI = x_NI.float()
        total[columns, columns].addmm_(x_NI.T, x_NI)
