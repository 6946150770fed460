"""Summaries of each method: the share of the dense score it retains over sparsities, and its cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from smc_eval.reporting.cost import CostMeasure, flops_cost, pareto_front, steps_cost
from smc_eval.reporting.series import Panel, Series, panels_of
from smc_eval.reporting.table import Table
from smc_eval.statistics import Area, Curve, SparsityAtRetention, suite

SUMMARY_RESAMPLES = 1000
"""Enough for the three digits of an interval that are shown."""

SHARES = (0.95, 0.99)
"""Of the dense score above chance."""

COSTS: dict[str, CostMeasure] = {"steps": steps_cost, "FLOPs": flops_cost("sparse")}


@dataclass(frozen=True)
class RelativeCost:
    """The cost of a method's certified nets, divided by the cost of their dense net."""

    low: float
    high: float
    mean: float | None
    """Over the sparsities of its area, with the same weights; None without an area."""
    front: bool = False
    """Whether the method is on the Pareto front of area and this cost, within its task and model."""


@dataclass(frozen=True)
class MethodSummary:
    """One method on one task with one model."""

    task: str
    model: str
    label: str
    retained_at: Mapping[float, SparsityAtRetention]
    """The largest sparsity that retains each of `SHARES`; empty without a curve."""
    area: Area | None
    """Over the sparsities that all curves of its task and model cover."""
    times: Mapping[str, RelativeCost]
    """By the names of `COSTS`; only known costs."""
    why: str = ""
    """Why some of these are missing."""


@dataclass(frozen=True)
class SuiteRank:
    """One method over all tasks."""

    label: str
    tasks: int
    area: Area
    """The mean of its areas; all tasks have the same weight."""


@dataclass(frozen=True)
class Summaries:
    """The summaries of panels, computed when they are first used."""

    panels: tuple[Panel, ...]

    @classmethod
    def of(cls, table: Table, chances: Mapping[str, float]) -> Summaries:
        """The summaries of a table; `chances` are chance levels by task."""
        return cls(panels_of(table, chances))

    @cached_property
    def rows(self) -> tuple[MethodSummary, ...]:
        """One for each series of each panel."""
        return tuple(row for panel in self.panels for row in _rows(panel))

    @cached_property
    def suite(self) -> tuple[SuiteRank, ...]:
        """Methods with a curve on every task, by the mean of their areas; empty without a shared range."""
        curves: dict[str, list[Curve]] = {}
        for panel in self.panels:
            for series in panel.series:
                if (curve := panel.curve(series)) and _above_chance(curve):
                    curves.setdefault(series.label, []).append(curve)
        complete = {label: group for label, group in curves.items() if len(group) == len(self.panels)}
        over = _shared_range([curve for group in complete.values() for curve in group])
        if over is None:
            return ()
        ranks = [
            SuiteRank(label, len(group), suite(group, over, SUMMARY_RESAMPLES))
            for label, group in complete.items()
        ]
        return tuple(sorted(ranks, key=lambda rank: -rank.area.value))


def _rows(panel: Panel) -> list[MethodSummary]:
    curves = [panel.curve(series) for series in panel.series]
    over = _shared_range([curve for curve in curves if curve and len(curve.points) > 1])
    rows = [_row(panel, series, curve, over) for series, curve in zip(panel.series, curves, strict=True)]
    for name in COSTS:
        rivals = [
            (at, row.area.value, mean)
            for at, row in enumerate(rows)
            if row.area and name in row.times and (mean := row.times[name].mean) is not None
        ]
        fronts = pareto_front([(gain, cost) for _, gain, cost in rivals])
        for (at, _, _), front in zip(rivals, fronts, strict=True):
            times = {**rows[at].times, name: replace(rows[at].times[name], front=front)}
            rows[at] = replace(rows[at], times=times)
    return rows


def _row(
    panel: Panel, series: Series, curve: Curve | None, over: tuple[float, float] | None
) -> MethodSummary:
    usable = curve if curve and _above_chance(curve) else None
    sparsities = {share: usable.sparsity_at(share, SUMMARY_RESAMPLES) for share in SHARES} if usable else {}
    area = None
    if usable and over and usable.sparsities[0] <= over[0] and over[1] <= usable.sparsities[-1]:
        area = usable.area(over, SUMMARY_RESAMPLES)
    return MethodSummary(
        panel.task,
        panel.model,
        series.label,
        {share: sparsity for share, sparsity in sparsities.items() if sparsity},
        area,
        dict(_times(series, usable, area)),
        _missing(panel, series, area),
    )


def _times(series: Series, curve: Curve | None, area: Area | None) -> Iterator[tuple[str, RelativeCost]]:
    """The costs of the nets on its curve; of N:M patterns if there are no others."""
    points = series.sound or tuple(point for point in series.points if point.cell_value.state == "ok")
    for name, measure in COSTS.items():
        costs = {point.sparsity: series.relative_cost(point, measure) for point in points}
        known = {sparsity: cost for sparsity, cost in costs.items() if cost is not None}
        if known:
            complete = curve and area and known.keys() == costs.keys()
            mean = curve.mean(known, area.over) if curve and area and complete else None
            yield name, RelativeCost(min(known.values()), max(known.values()), mean)


def _missing(panel: Panel, series: Series, area: Area | None) -> str:
    """Why a series has no curve, or no area under it; empty if it has both."""
    if series.dense is None:
        return "there is no dense net to compare with"
    if series.dense.cell_value.state != "ok":
        return "the dense net is not certified"
    if panel.chance is None:
        return "the chance level is unknown, because no plugin has this task with these options"
    if not series.sound:
        return "no net on its curve is certified"
    curve = panel.curve(series)
    if curve and not _above_chance(curve):
        return f"the dense net is not better than chance level, {panel.chance:g}"
    return "" if area else "no area: it shares no range of measured sparsities with the other methods"


def _above_chance(curve: Curve) -> bool:
    """Whether the dense net is better than chance; else no share of its score can be retained."""
    return all(map(math.isfinite, curve.shares))


def _shared_range(curves: Sequence[Curve]) -> tuple[float, float] | None:
    """The range of sparsities that all curves cover; None if it is empty or a point."""
    low = max((curve.sparsities[0] for curve in curves), default=1.0)
    high = min((curve.sparsities[-1] for curve in curves), default=0.0)
    return (low, high) if low < high else None
