"""Rows and matrices: the numbers of figures, packed so that a page of thousands stays small."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CODE_SIGNS = string.ascii_letters + string.digits + "+/"
LARGEST_CODE = len(CODE_SIGNS) ** 2 - 1
EMPTY_CELL = ".."
"""Stands for a number there is not."""

REPEATED = 0.7
"""A column is told as words and their numbers where fewer than this share of it are distinct."""


@dataclass(frozen=True)
class Rows:
    """A few hundred rows of a figure."""

    rows: tuple[Mapping[str, Any], ...]

    def packed(self) -> dict[str, Any]:
        """By columns; a word that recurs is told once."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {"columns": {name: _column([row.get(name) for row in self.rows]) for name in names}}

    def plain(self) -> list[dict[str, Any]]:
        """As Vega-Lite reads them."""
        return [dict(row) for row in self.rows]


@dataclass(frozen=True)
class Matrix:
    """A number for each tensor of each square: shares of weights that are gone, or ways that weights went.

    Two signs a number: of shares a 4095th, of ways half a per cent.
    """

    tensors: tuple[str, ...]
    field: str
    squares: tuple[tuple[str, str, float, tuple[float | None, ...]], ...]
    """Label, column, depth, and the tensors' numbers."""
    logarithmic: bool = False

    def packed(self) -> dict[str, Any]:
        """Tensors told once, two signs a number."""
        sign = _way if self.logarithmic else _share
        told = [
            [label, column, round(depth, 4), "".join(map(sign, of))]
            for label, column, depth, of in self.squares
        ]
        return {"tensors": self.tensors, "field": self.field, "log": self.logarithmic, "squares": told}

    def plain(self) -> list[dict[str, Any]]:
        """As Vega-Lite reads them, in the net's order of tensors."""
        return [
            {"label": label, "column": column, "depth": depth, "tensor": tensor, self.field: value}
            for label, column, depth, of in self.squares
            for tensor, value in zip(self.tensors, of, strict=True)
            if value is not None
        ]


def _column(values: Sequence[Any]) -> Any:
    values = [float(f"{v:.6g}") if isinstance(v, float) and math.isfinite(v) else v for v in values]
    words = list(dict.fromkeys((type(value), value) for value in values))  # True is no 1
    if len(words) > REPEATED * len(values):
        return values
    at = {word: number for number, word in enumerate(words)}
    return {"words": [word for _, word in words], "at": [at[type(value), value] for value in values]}


def _share(value: float | None) -> str:
    """Rounded down: only a tensor that is wholly gone says so."""
    return EMPTY_CELL if value is None else _signs(math.floor(min(max(value, 0.0), 1.0) * LARGEST_CODE))


def _way(value: float | None) -> str:
    """Nine decades from a millionth up; no way at all is a sign of its own."""
    if value is None:
        return EMPTY_CELL
    return _signs(
        0 if value <= 0 else min(LARGEST_CODE, max(1, round((math.log10(value) + 6) / 9 * LARGEST_CODE)))
    )


def _signs(number: int) -> str:
    return CODE_SIGNS[number // len(CODE_SIGNS)] + CODE_SIGNS[number % len(CODE_SIGNS)]
