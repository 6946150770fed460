"""The table as series of points, one panel for each task and model, for figures and summaries."""

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
"""The paper's step: each keeps 0.8 of the weights, so its ten sparsities are evenly spaced on the axis."""


@dataclass(frozen=True)
class PlotPoint:
    """One number that can be drawn."""

    column: str
    """The head of its column in the table: `0.672`, `2:4`, `dense`."""
    sparsity: float
    cell_value: CellValue

    @property
    def free(self) -> bool:
        """Whether it is on a curve over sparsity. N:M patterns and the dense net are not."""
        return ":" not in self.column and 0 < self.sparsity < 1

    @property
    def share(self) -> float:
        """The share of the weights in scope that is pruned: a free target's own, else the one reached.

        `2:4` prunes 0.5; `heads:0.5` prunes what half of the heads have.
        """
        return (
            self.sparsity if ":" not in self.column else self.cell_value.reached.get("scope", self.sparsity)
        )

    @property
    def placed(self) -> bool:
        """Whether it has a place on an axis of sparsities: all but the dense net."""
        return 0 < self.share < 1

    @property
    def depth(self) -> float:
        """Its place on the axis, in steps of the paper."""
        return math.log1p(-self.share) / STEP

    @property
    def interval(self) -> Interval | None:
        """The 95 % confidence interval of the number."""
        return self.cell_value.interval

    @property
    def sample(self) -> Sample | float:
        """Its seeds and items, or the number alone if its error is unknown."""
        return self.cell_value.value if self.cell_value.sample is None else self.cell_value.sample

    @property
    def records(self) -> tuple[Record, ...]:
        """The records it was computed from."""
        return self.cell_value.records

    def mean(self, measure: CostMeasure) -> float | None:
        """The mean of a number over its records; None if one record lacks it."""
        values = [measure(record) for record in self.records]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None


@dataclass(frozen=True)
class Series:
    """One method of a panel."""

    label: str
    """The name of its row in the table: `lth (erk)`."""
    cell_values: tuple[CellValue, ...]
    """The cells of its row, one per column."""
    dense: PlotPoint | None
    points: tuple[PlotPoint, ...]
    """The cells that have a number, in ascending order of sparsity; without the dense net."""

    @property
    def method(self) -> str:
        """The method without options, but with its ablation: `lth`, `lth+shuffle`."""
        return re.split(r"[:+ ]", self.label, maxsplit=1)[0] + "".join(re.findall(r"\+\w+", self.label))

    @property
    def sound(self) -> tuple[PlotPoint, ...]:
        """The certified points of its curve."""
        return tuple(point for point in self.points if point.free and point.cell_value.state == "ok")

    def relative_cost(self, point: PlotPoint, measure: CostMeasure) -> float | None:
        """The cost of a point divided by that of the dense net; None if either is unknown."""
        cost, dense_cost = point.mean(measure), self.dense.mean(measure) if self.dense else None
        return cost / dense_cost if cost is not None and dense_cost else None


@dataclass(frozen=True)
class Panel:
    """One task with one model."""

    task: str
    model: str
    metric: str
    higher: bool
    """Whether a higher score is better."""
    decimals: int
    chance: float | None
    """The score at chance level; None if the task is not installed."""
    series: tuple[Series, ...]

    @property
    def title(self) -> str:
        """Task and model in words."""
        return f"{self.task} · {self.model}"

    @property
    def points(self) -> Iterator[tuple[Series, PlotPoint]]:
        """Every point with its series; without dense nets."""
        for series in self.series:
            for point in series.points:
                yield series, point

    @property
    def columns(self) -> list[str]:
        """The columns that have a point, in ascending order of sparsity; patterns last."""
        order = {point.column: (not point.free, point.sparsity) for _, point in self.points}
        return sorted(order, key=lambda column: order[column])

    def curve(self, series: Series) -> Curve | None:
        """The curve of a series; None without a certified dense net, a certified point or a chance level."""
        dense = series.dense
        if dense is None or not series.sound or dense.cell_value.state != "ok" or self.chance is None:
            return None
        points = {point.sparsity: point.sample for point in series.sound}
        return Curve(dense.sample, points, self.chance, self.higher)


def panels_of(table: Table, chances: Mapping[str, float]) -> tuple[Panel, ...]:
    """The panels of a table in its order; `chances` are chance levels by task."""
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
        chances.get(rows[0].task),
        tuple(_series(row, columns) for row in rows),
    )


def _series(row: TableRow, columns: Sequence[str]) -> Series:
    points = [
        PlotPoint(column, cell_value.records[0].target.sparsity, cell_value)
        for column, cell_value in zip(columns, row.cell_values, strict=True)
        if cell_value.records and math.isfinite(cell_value.value)
    ]
    dense = next((point for point in points if point.column == DENSE), None)
    rest = [point for point in points if point.column != DENSE]
    rest.sort(key=lambda point: (not point.free, point.sparsity))
    return Series(row.method, row.cell_values, dense, tuple(rest))
