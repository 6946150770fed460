"""A Panel: one task with one model, its methods as lines of squares, each with its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.cost import CostMeasure
from smc_eval.reporting.table import Table, TableRow
from smc_eval.statistics import Curve, Interval, Sample
from smc_eval.store.record import Record

STEP = math.log(0.8)
"""The paper's steps: each leaves 0.8 of what the last one left, so its ten sparsities stand evenly."""


@dataclass(frozen=True)
class PlotPoint:
    """One number that can be drawn."""

    column: str
    """As the table heads it: `0.672`, `2:4`, `dense`."""
    sparsity: float
    cell_value: CellValue

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
        return self.cell_value.interval

    @property
    def sample(self) -> Sample | float:
        """As statistics know it: its seeds and items, or a number that tells no error."""
        return self.cell_value.value if self.cell_value.sample is None else self.cell_value.sample

    @property
    def records(self) -> tuple[Record, ...]:
        """What it came from."""
        return self.cell_value.records

    def mean(self, number: CostMeasure) -> float | None:
        """Mean of a number over its records; None where one has none."""
        found = [number(record) for record in self.records]
        known = [value for value in found if value is not None]
        return sum(known) / len(known) if known and len(known) == len(found) else None


@dataclass(frozen=True)
class Series:
    """One method of a panel."""

    label: str
    """With whatever sets it apart: `lth (erk)`."""
    cell_values: tuple[CellValue, ...]
    """As in the table, one a column."""
    dense: PlotPoint | None
    squares: tuple[PlotPoint, ...]
    """Those that hold a number, from low sparsity to high."""

    @property
    def method(self) -> str:
        """The method without options, or with its ablation: `lth`, `lth+shuffle`."""
        return re.split(r"[:+ ]", self.label, maxsplit=1)[0] + "".join(re.findall(r"\+\w+", self.label))

    @property
    def sound(self) -> tuple[PlotPoint, ...]:
        """Those on its curve whose certificates hold."""
        return tuple(square for square in self.squares if square.free and square.cell_value.state == "ok")

    def times(self, square: PlotPoint, measure: CostMeasure) -> float | None:
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
    lines: tuple[Series, ...]

    @property
    def title(self) -> str:
        """Task and model in words."""
        return f"{self.task} · {self.model}"

    @property
    def squares(self) -> Iterator[tuple[Series, PlotPoint]]:
        """Every square with its line; the dense net is none."""
        for line in self.lines:
            for square in line.squares:
                yield line, square

    @property
    def columns(self) -> list[str]:
        """Sparsities at which there is a number, from low to high; patterns last."""
        found = {square.column: (not square.free, square.sparsity) for _, square in self.squares}
        return sorted(found, key=lambda column: found[column])

    def curve(self, line: Series) -> Curve | None:
        """A line as statistics know it; None without a sound dense net, a sound square or a known chance."""
        if line.dense is None or not line.sound or line.dense.cell_value.state != "ok" or self.chance is None:
            return None
        points = {square.sparsity: square.sample for square in line.sound}
        return Curve(line.dense.sample, points, self.chance, self.higher)


def panels_of(table: Table, chances: Mapping[str, float]) -> tuple[Panel, ...]:
    """The panels of a table in its order; `chances` go by the names of tasks."""
    groups = groupby(table.rows, key=lambda row: (row.task, row.model))
    return tuple(_panel(list(rows), table.columns, chances) for _, rows in groups)


def _panel(rows: Sequence[TableRow], columns: Sequence[str], chances: Mapping[str, float]) -> Panel:
    records = (value.records[0] for row in rows for value in row.cell_values if value.records)
    score = next((record.score for record in records), None)
    return Panel(
        rows[0].task,
        rows[0].model,
        score.metric if score else "score",
        score.higher_is_better if score else True,
        max((cell_value.decimals for row in rows for cell_value in row.cell_values), default=1),
        chances.get(rows[0].task.partition(":")[0]),
        tuple(_line(row, columns) for row in rows),
    )


def _line(row: TableRow, columns: Sequence[str]) -> Series:
    squares = [
        PlotPoint(column, cell_value.records[0].target.sparsity, cell_value)
        for column, cell_value in zip(columns, row.cell_values, strict=True)
        if cell_value.records and math.isfinite(cell_value.value)
    ]
    dense = next((square for square in squares if square.column == DENSE), None)
    rest = sorted((s for s in squares if s.column != DENSE), key=lambda s: (not s.free, s.sparsity))
    return Series(row.method, row.cell_values, dense, tuple(rest))
