"""A Panel: one task with one model, its methods as lines of squares, each with its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from smc_eval.reporting.cell_value import Entry
from smc_eval.reporting.cost import Measure
from smc_eval.reporting.table import DENSE, Row, Table
from smc_eval.statistics import Curve, Interval, Sample
from smc_eval.store.records import Result

STEP = math.log(0.8)
"""The paper's steps: each leaves 0.8 of what the last one left, so its ten sparsities stand evenly."""


@dataclass(frozen=True)
class Square:
    """One number that can be drawn."""

    column: str
    """As the table heads it: `0.672`, `2:4`, `dense`."""
    sparsity: float
    entry: Entry

    @property
    def free(self) -> bool:
        """Whether it lies on a curve over sparsity: N:M patterns do not."""
        return ":" not in self.column and 0 < self.sparsity < 1

    @property
    def depth(self) -> float:
        """Where it stands on the axis: how many of the paper's steps deep."""
        return math.log1p(-self.sparsity) / STEP

    @property
    def interval(self) -> Interval | None:
        """How far the number may be off."""
        return self.entry.interval

    @property
    def sample(self) -> Sample | float:
        """As statistics know it: its seeds and items, or a number that tells no error."""
        return self.entry.value if self.entry.sample is None else self.entry.sample

    @property
    def records(self) -> tuple[Result, ...]:
        """What it came from."""
        return self.entry.records

    def mean(self, number: Measure) -> float | None:
        """Mean of a number over its records; None where one has none."""
        found = [number(record) for record in self.records]
        known = [value for value in found if value is not None]
        return sum(known) / len(known) if known and len(known) == len(found) else None


@dataclass(frozen=True)
class Line:
    """One method of a panel."""

    label: str
    """With whatever sets it apart: `lth (erk)`."""
    entries: tuple[Entry, ...]
    """As in the table, one a column."""
    dense: Square | None
    squares: tuple[Square, ...]
    """Those that hold a number, from low sparsity to high."""

    @property
    def method(self) -> str:
        """The method without options, or with its ablation: `lth`, `lth+shuffle`."""
        return re.split(r"[:+ ]", self.label, maxsplit=1)[0] + "".join(re.findall(r"\+\w+", self.label))

    @property
    def sound(self) -> tuple[Square, ...]:
        """Those on its curve whose certificates hold."""
        return tuple(square for square in self.squares if square.free and square.entry.state == "ok")

    def times(self, square: Square, measure: Measure) -> float | None:
        """What a square took in units of what the dense net took; None where either is not known."""
        own, its = square.mean(measure), self.dense.mean(measure) if self.dense else None
        return own / its if own is not None and its else None


@dataclass(frozen=True)
class Panel:
    """One task with one model."""

    task: str
    model: str
    metric: str
    higher: bool
    decimals: int
    chance: float | None
    """Score of a guess; None where nothing installed knows the task."""
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        """Task and model in words."""
        return f"{self.task} · {self.model}"

    @property
    def squares(self) -> Iterator[tuple[Line, Square]]:
        """Every square with its line; the dense net is none."""
        for line in self.lines:
            for square in line.squares:
                yield line, square

    @property
    def columns(self) -> list[str]:
        """Sparsities at which there is a number, from low to high; patterns last."""
        found = {square.column: (not square.free, square.sparsity) for _, square in self.squares}
        return sorted(found, key=lambda column: found[column])

    def curve(self, line: Line) -> Curve | None:
        """A line as statistics know it; None without a sound dense net, a sound square or a known chance."""
        if line.dense is None or not line.sound or line.dense.entry.state != "ok" or self.chance is None:
            return None
        points = {square.sparsity: square.sample for square in line.sound}
        return Curve(line.dense.sample, points, self.chance, self.higher)


def panels(table: Table, chances: Mapping[str, float]) -> tuple[Panel, ...]:
    """The panels of a table in its order; `chances` go by the names of tasks."""
    groups = groupby(table.rows, key=lambda row: (row.task, row.model))
    return tuple(_panel(list(rows), table.columns, chances) for _, rows in groups)


def _panel(rows: Sequence[Row], columns: Sequence[str], chances: Mapping[str, float]) -> Panel:
    scores = [entry.records[0].score or {} for row in rows for entry in row.entries if entry.records]
    score: dict[str, Any] = scores[0] if scores else {}
    return Panel(
        rows[0].task,
        rows[0].model,
        score.get("metric", "score"),
        score.get("higher_is_better", True),
        max((entry.decimals for row in rows for entry in row.entries), default=1),
        chances.get(rows[0].task.partition(":")[0]),
        tuple(_line(row, columns) for row in rows),
    )


def _line(row: Row, columns: Sequence[str]) -> Line:
    squares = [
        Square(column, float(entry.records[0].target["sparsity"]), entry)
        for column, entry in zip(columns, row.entries, strict=True)
        if entry.records and math.isfinite(entry.value)
    ]
    dense = next((square for square in squares if square.column == DENSE), None)
    rest = sorted((s for s in squares if s.column != DENSE), key=lambda s: (not s.free, s.sparsity))
    return Line(row.method, row.entries, dense, tuple(rest))
