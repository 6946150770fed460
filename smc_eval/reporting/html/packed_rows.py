"""Rows and matrices: the data of figures, packed so that a page of thousands of cells stays small."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CODE_SIGNS = string.ascii_letters + string.digits + "+/"
LARGEST_CODE = len(CODE_SIGNS) ** 2 - 1
EMPTY_CELL = ".."
"""A missing number."""

REPEATED = 0.7
"""A column is packed as distinct values and indices if at most this share of its values are distinct."""


@dataclass(frozen=True)
class Rows:
    """The rows of a figure, usually a few hundred."""

    rows: tuple[Mapping[str, Any], ...]

    def packed(self) -> dict[str, Any]:
        """By columns, with repeated values stored once."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {"columns": {name: _column([row.get(name) for row in self.rows]) for name in names}}

    def plain(self) -> list[dict[str, Any]]:
        """The rows for Vega-Lite."""
        return [dict(row) for row in self.rows]


@dataclass(frozen=True)
class Matrix:
    """A number for each tensor of each point: sparsities, or relative changes of weights.

    Packed as two characters each: sparsities to 1/4095, changes to half a per cent.
    """

    tensors: tuple[str, ...]
    field: str
    points: tuple[tuple[str, str, float, tuple[float | None, ...]], ...]
    """Label, column, depth, and the numbers of the tensors."""
    logarithmic: bool = False
    """Whether the numbers are changes, packed by their logarithm."""

    def packed(self) -> dict[str, Any]:
        """The names of the tensors once, and two characters per number."""
        pack = _packed_change if self.logarithmic else _packed_share
        points = [
            [label, column, round(depth, 4), "".join(map(pack, numbers))]
            for label, column, depth, numbers in self.points
        ]
        return {"tensors": self.tensors, "field": self.field, "log": self.logarithmic, "points": points}

    def plain(self) -> list[dict[str, Any]]:
        """The rows for Vega-Lite, in the net's order of tensors."""
        return [
            {"label": label, "column": column, "depth": depth, "tensor": tensor, self.field: value}
            for label, column, depth, numbers in self.points
            for tensor, value in zip(self.tensors, numbers, strict=True)
            if value is not None
        ]


def _column(values: Sequence[Any]) -> Any:
    values = [float(f"{v:.6g}") if isinstance(v, float) and math.isfinite(v) else v for v in values]
    distinct = list(dict.fromkeys((type(value), value) for value in values))  # True and 1 are distinct
    if len(distinct) > REPEATED * len(values):
        return values
    index = {value: number for number, value in enumerate(distinct)}
    return {
        "distinct": [value for _, value in distinct],
        "index": [index[type(value), value] for value in values],
    }


def _packed_share(value: float | None) -> str:
    """Rounded down, so that only a dead tensor has the largest code."""
    return EMPTY_CELL if value is None else _code(math.floor(min(max(value, 0.0), 1.0) * LARGEST_CODE))


def _packed_change(value: float | None) -> str:
    """Nine decades from 1e-6 up; code 0 means no change."""
    if value is None:
        return EMPTY_CELL
    return _code(
        0 if value <= 0 else min(LARGEST_CODE, max(1, round((math.log10(value) + 6) / 9 * LARGEST_CODE)))
    )


def _code(number: int) -> str:
    return CODE_SIGNS[number // len(CODE_SIGNS)] + CODE_SIGNS[number % len(CODE_SIGNS)]
