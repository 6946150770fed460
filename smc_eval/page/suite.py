"""The suite: every number of the table, what each method keeps of the dense net, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smc_eval.entry import Entry
from smc_eval.page.cost import flops, steps, times
from smc_eval.panel import Line, Panel
from smc_eval.statistics import Area, Curve, Kept, suite

RESAMPLES = 1000
"""A page shows three digits of an interval at most."""

ABSENT = "–"


@dataclass(frozen=True)
class Cell:
    """One square of the page's table."""

    text: str
    below: str = ""
    """Its interval, or what must be known of it."""
    key: float | str | None = None
    """By what it is sorted; None comes last."""
    state: str = "ok"
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the page's table."""

    names: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Ranking:
    """One method over all tasks."""

    label: str
    tasks: int
    area: Area

    @property
    def text(self) -> str:
        """Its score, and how sure it is."""
        return f"{self.area.value:.3f}{_ends(self.area)}"


HEADS = ("s@95", "s@99", "area", "× steps", "× FLOPs")


def rows(panels: Sequence[Panel], columns: Sequence[str]) -> Iterator[Row]:
    """The lines of the table: names, the table's columns, then `HEADS`."""
    for panel in panels:
        over = _common(panel)
        for line in panel.lines:
            numbers = [_number(panel, line, at, column) for at, column in enumerate(columns)]
            further = [*_kept(panel.curve(line), over), *_cost(line)]
            yield Row((panel.task, panel.model, line.label), (*numbers, *further))


def ranked(panels: Sequence[Panel]) -> list[Ranking]:
    """Methods that every task has, by the mean of their areas; none where there is no common range."""
    curves: dict[str, list[Curve]] = {}
    for panel in panels:
        for line in panel.lines:
            if (curve := panel.curve(line)) and all(map(math.isfinite, curve.shares)):
                curves.setdefault(line.label, []).append(curve)
    whole = {label: found for label, found in curves.items() if len(found) == len(panels)}
    ends = [curve.sparsities for found in whole.values() for curve in found]
    if not ends:
        return []
    low, high = max(each[0] for each in ends), min(each[-1] for each in ends)
    if low >= high:
        return []
    made = [
        Ranking(label, len(found), suite(found, (low, high), RESAMPLES)) for label, found in whole.items()
    ]
    return sorted(made, key=lambda one: -one.area.value)


def _common(panel: Panel) -> tuple[float, float] | None:
    """The range of sparsities that all of a panel's curves have measured."""
    curves = [curve for line in panel.lines if (curve := panel.curve(line)) and len(curve.points) > 1]
    if not curves:
        return None
    low = max(curve.sparsities[0] for curve in curves)
    high = min(curve.sparsities[-1] for curve in curves)
    return (low, high) if low < high else None


def _number(panel: Panel, line: Line, at: int, column: str) -> Cell:
    entry = line.entries[at]
    squares = [*([line.dense] if line.dense else []), *line.squares]
    square = next((square for square in squares if square.column == column), None)
    if square is None:
        return Cell(entry.text, state=entry.state)
    sure = square.interval
    told = f"{sure.low:.{panel.decimals}f} to {sure.high:.{panel.decimals}f}" if sure else ""
    below = "; ".join([*([told] if told else []), *entry.remarks])
    return Cell(_digits(entry), below, entry.value, entry.state, entry.best)


def _digits(entry: Entry) -> str:
    return f"{entry.value:.{entry.decimals}f}{'!' if entry.state == 'doubt' else ''}"


def _kept(curve: Curve | None, over: tuple[float, float] | None) -> Iterator[Cell]:
    for share in (0.95, 0.99):
        kept = curve.kept_at(share, RESAMPLES) if curve else None
        yield _held(kept) if kept else Cell(ABSENT)
    inside = curve and over and curve.sparsities[0] <= over[0] and over[1] <= curve.sparsities[-1]
    if not (curve and over and inside) or not all(map(math.isfinite, curve.shares)):
        yield Cell(ABSENT)
        return
    area = curve.area(over, RESAMPLES)
    below = f"{_ends(area).strip()}" if area.interval else ""
    yield Cell(f"{area.value:.3f}", below, area.value)


def _held(kept: Kept) -> Cell:
    sure = kept.interval
    below = f"{sure.low:.3g} to {sure.high:.3g}" if sure else ""
    beyond = {"above": 1e-6, "below": -1e-6, "within": 0.0}[kept.bounded]
    return Cell(kept.text, below, kept.sparsity + beyond)


def _ends(area: Area) -> str:
    return f" {area.interval.low:.3f} to {area.interval.high:.3f}" if area.interval else ""


def _cost(line: Line) -> Iterator[Cell]:
    """What its squares took in units of the dense net, the least and the most."""
    for measure in (steps, flops("sparse")):
        found = [cost for square in line.squares if (cost := times(square, line.dense, measure)) is not None]
        if not found:
            yield Cell(ABSENT)
            continue
        low, high = min(found), max(found)
        yield Cell(f"{low:.2g}" if high - low < 0.05 * high else f"{low:.2g}–{high:.2g}", key=high)
