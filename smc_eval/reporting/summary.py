"""Standings: what each method keeps of the dense net over sparsities, at what cost, and over all tasks."""

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
"""Three digits of an interval are shown at most."""

SHARES = (0.95, 0.99)
"""Of the dense score above chance."""

COSTS: dict[str, CostMeasure] = {"steps": steps_cost, "FLOPs": flops_cost("sparse")}


@dataclass(frozen=True)
class RelativeCost:
    """What a method's nets took, in units of what their dense net took."""

    low: float
    high: float
    """The least and the most of its certified nets."""
    mean: float | None
    """Over the sparsities of its area, weighted as there; None where it has no area."""
    front: bool = False
    """Whether no other of its task and model has as large an area for no more of it."""


@dataclass(frozen=True)
class MethodSummary:
    """One method on one task with one model."""

    task: str
    model: str
    label: str
    retained_at: Mapping[float, SparsityAtRetention]
    """The largest sparsity that keeps each of `SHARES`; empty where it has no curve."""
    area: Area | None
    """Over the sparsities that all curves of its task and model have measured."""
    times: Mapping[str, RelativeCost]
    """By the names of `COSTS`; only what is known."""
    why: str = ""
    """What keeps it from having all of these."""


@dataclass(frozen=True)
class SuiteRank:
    """One method over all tasks."""

    label: str
    tasks: int
    area: Area


@dataclass(frozen=True)
class Summaries:
    """What is to be said of panels over and above their numbers; reckoned when it is asked for."""

    panels: tuple[Panel, ...]

    @classmethod
    def of(cls, table: Table, chances: Mapping[str, float]) -> Summaries:
        """The standings of a table; `chances` go by the names of tasks."""
        return cls(panels_of(table, chances))

    @cached_property
    def rows(self) -> tuple[MethodSummary, ...]:
        """One for each line of each panel."""
        return tuple(row for panel in self.panels for row in _rows(panel))

    @cached_property
    def suite(self) -> tuple[SuiteRank, ...]:
        """Methods that every task has, by the mean of their areas; none without a range they all have."""
        curves: dict[str, list[Curve]] = {}
        for panel in self.panels:
            for line in panel.lines:
                if (curve := panel.curve(line)) and _known(curve):
                    curves.setdefault(line.label, []).append(curve)
        whole = {label: found for label, found in curves.items() if len(found) == len(self.panels)}
        over = _common([curve for found in whole.values() for curve in found])
        if over is None:
            return ()
        ranks = [
            SuiteRank(label, len(found), suite(found, over, SUMMARY_RESAMPLES))
            for label, found in whole.items()
        ]
        return tuple(sorted(ranks, key=lambda one: -one.area.value))


def _rows(panel: Panel) -> list[MethodSummary]:
    curves = [panel.curve(line) for line in panel.lines]
    over = _common([curve for curve in curves if curve and len(curve.points) > 1])
    rows = [_row(panel, line, curve, over) for line, curve in zip(panel.lines, curves, strict=True)]
    for name in COSTS:
        rivals = [
            (at, row.area.value, mean)
            for at, row in enumerate(rows)
            if row.area and name in row.times and (mean := row.times[name].mean) is not None
        ]
        ahead = pareto_front([(gain, cost) for _, gain, cost in rivals])
        for (at, _, _), first in zip(rivals, ahead, strict=True):
            times = {**rows[at].times, name: replace(rows[at].times[name], front=first)}
            rows[at] = replace(rows[at], times=times)
    return rows


def _row(panel: Panel, line: Series, curve: Curve | None, over: tuple[float, float] | None) -> MethodSummary:
    known = curve if curve and _known(curve) else None
    found = {share: known.sparsity_at(share, SUMMARY_RESAMPLES) for share in SHARES} if known else {}
    area = None
    if known and over and known.sparsities[0] <= over[0] and over[1] <= known.sparsities[-1]:
        area = known.area(over, SUMMARY_RESAMPLES)
    return MethodSummary(
        panel.task,
        panel.model,
        line.label,
        {share: kept for share, kept in found.items() if kept},
        area,
        dict(_times(line, known, area)),
        _lacking(panel, line, area),
    )


def _times(line: Series, curve: Curve | None, area: Area | None) -> Iterator[tuple[str, RelativeCost]]:
    """Of the nets on its curve; of N:M patterns where there are no others."""
    squares = line.sound or tuple(square for square in line.squares if square.cell_value.state == "ok")
    for name, measure in COSTS.items():
        costs = {square.sparsity: line.times(square, measure) for square in squares}
        known = {sparsity: cost for sparsity, cost in costs.items() if cost is not None}
        if known:
            whole = curve and area and known.keys() == costs.keys()
            mean = curve.mean(known, area.over) if curve and area and whole else None
            yield name, RelativeCost(min(known.values()), max(known.values()), mean)


def _lacking(panel: Panel, line: Series, area: Area | None) -> str:
    """Why a line has no curve, or no area under it; empty where it has both."""
    if line.dense is None:
        return "no dense net stands beside"
    if line.dense.cell_value.state != "ok":
        return "the dense net is not certified"
    if panel.chance is None:
        return "nothing that is installed knows what a guess scores"
    if not line.sound:
        return "there is no certified net on a curve"
    curve = panel.curve(line)
    if curve and not _known(curve):
        return f"the dense net is no better than a guess, which scores {panel.chance:g}"
    return "" if area else "no area: there is no range of sparsities that it and the others have measured"


def _known(curve: Curve) -> bool:
    """Whether there is anything to keep: a dense net no better than a guess leaves nothing."""
    return all(map(math.isfinite, curve.shares))


def _common(curves: Sequence[Curve]) -> tuple[float, float] | None:
    """The range of sparsities that all curves have measured; None where it is no range."""
    low = max((curve.sparsities[0] for curve in curves), default=1.0)
    high = min((curve.sparsities[-1] for curve in curves), default=0.0)
    return (low, high) if low < high else None
