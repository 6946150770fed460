"""Summaries as text tables for readers and as plain values for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from smc_eval.reporting.summary import COSTS, SHARES, MethodSummary, RelativeCost, Summaries
from smc_eval.reporting.text_table import TextTable
from smc_eval.statistics import Area, Interval, SparsityAtRetention

SUMMARY_HEADS = (
    *(f"s@{100 * share:g}" for share in SHARES),
    "area",
    *(f"× {name}" for name in COSTS),
    "front",
)

ABSENT = "–"


class NumberText(NamedTuple):
    """A number as text."""

    text: str
    detail: str = ""
    """Its interval, or its smallest and largest value."""
    sort_key: float | None = None
    """None is sorted last."""

    @property
    def table_text(self) -> str:
        """A cell of a text table."""
        return f"{self.text}\n{self.detail}" if self.detail else self.text


def summary_texts(row: MethodSummary) -> tuple[NumberText, ...]:
    """The numbers of a summary as text, in the order of `SUMMARY_HEADS`."""
    return (
        *(_sparsity(row.retained_at.get(share)) for share in SHARES),
        _area(row.area),
        *(_times(row.times.get(name)) for name in COSTS),
        _front(row),
    )


def text_tables(summaries: Summaries, warnings: tuple[str, ...] = ()) -> list[TextTable]:
    """The numbers of each curve, and the means over all tasks if there are several.

    `warnings` are shown with each table.
    """
    rows = summaries.rows
    models = len({row.model for row in rows}) > 1
    first = TextTable(
        ("task", *(["model"] if models else []), "method", *SUMMARY_HEADS),
        "ll" + "l" * models + "r" * (len(SUMMARY_HEADS) - 1) + "l",
        tuple(
            (
                row.task,
                *([row.model] if models else []),
                row.label,
                *(number.table_text for number in summary_texts(row)),
            )
            for row in rows
        ),
        "share of the dense score retained over sparsities, and training cost",
        tuple(_notes(summaries)),
        warnings,
    )
    return [first, *([_suite(summaries, warnings)] if len(summaries.panels) > 1 and summaries.suite else [])]


def plain_values(summaries: Summaries) -> dict[str, list[dict[str, Any]]]:
    """Both as plain JSON values: `curves`, one line per method and task; `suite`, one line per method."""
    return {
        "curves": [_plain(row) for row in summaries.rows],
        "suite": [
            {"task": None, "model": None, "method": rank.label, "tasks": rank.tasks, **_plain_area(rank.area)}
            for rank in summaries.suite
            if len(summaries.panels) > 1
        ],
    }


def _sparsity(retained: SparsityAtRetention | None) -> NumberText:
    if retained is None:
        return NumberText(ABSENT)
    beyond = {"above": 1e-6, "below": -1e-6, "within": 0.0}[retained.bounded]
    return NumberText(retained.text, _ends(retained.interval, ".3g"), retained.sparsity + beyond)


def _area(area: Area | None) -> NumberText:
    return (
        NumberText(f"{area.value:.3f}", _ends(area.interval, ".3f"), area.value)
        if area
        else NumberText(ABSENT)
    )


def _ends(interval: Interval | None, form: str) -> str:
    return interval.ends(form) if interval else ""


def _times(times: RelativeCost | None) -> NumberText:
    if times is None:
        return NumberText(ABSENT)
    low, high = f"{times.low:.3g}", f"{times.high:.3g}"
    extremes = f"{low} to {high}" if low != high else ""
    if times.mean is None:
        return NumberText(extremes or high, sort_key=times.high)
    return NumberText(f"{times.mean:.3g}", extremes, times.mean)


def _front(row: MethodSummary) -> NumberText:
    names = [name for name, times in row.times.items() if times.front]
    return NumberText(", ".join(names) if row.area else ABSENT, sort_key=len(names) if row.area else None)


def _suite(summaries: Summaries, warnings: tuple[str, ...]) -> TextTable:
    ranks = summaries.suite
    low, high = ranks[0].area.over
    overs = dict.fromkeys(rank.area.interval.over for rank in ranks if rank.area.interval)
    return TextTable(
        ("method", "tasks", "area"),
        "lrr",
        tuple((rank.label, str(rank.tasks), _area(rank.area).table_text) for rank in ranks),
        "over all tasks",
        (
            f"area: unweighted mean of the tasks' areas over sparsities {low:.3g} to {high:.3g}",
            "only methods with a curve on every task",
            *(
                [f"in parentheses or below: the 95 % confidence interval over {' or '.join(overs)}"]
                if overs
                else []
            ),
        ),
        warnings,
    )


def _notes(summaries: Summaries) -> Iterator[str]:
    rows = summaries.rows
    names = ", ".join(SUMMARY_HEADS[: len(SHARES)])
    shares = " and ".join(f"{100 * share:g}" for share in SHARES)
    yield f"{names}: the largest sparsity that retains {shares} % of the dense score above chance"
    ranges = {(row.task, row.model): row.area.over for row in rows if row.area}
    overs = dict.fromkeys(f"{low:.3g} to {high:.3g}" for low, high in ranges.values())
    if len(overs) > 1:
        overs = dict.fromkeys(f"{low:.3g} to {high:.3g} ({key[0]})" for key, (low, high) in ranges.items())
    if overs:
        yield (
            "area: mean retained share of the dense score above chance, over the sparsities that all methods "
            f"of a task have: {', '.join(overs)}"
        )
    if covered := dict.fromkeys(interval.over for row in rows for interval in _intervals(row)):
        yield (
            f"in parentheses or below: the 95 % confidence interval over {' or '.join(covered)}; for costs, "
            "the smallest and the largest"
        )
    if any(row.times for row in rows):
        yield (
            "×: training cost over the same sparsities, relative to the dense net; FLOPs if pruned weights "
            "cost nothing"
        )
        yield "front: costs for which the method is on the task's Pareto front; intervals are ignored"
    doubt = sum(
        point.free and point.cell_value.state == "doubt"
        for panel in summaries.panels
        for _, point in panel.points
    )
    if doubt:
        yield f"! {doubt} cell{'s' * (doubt > 1)} with a failed certificate: not on the curves"
    missing: dict[str, list[str]] = {}
    for row in rows:
        if row.why:
            missing.setdefault(row.why, []).append(f"{row.task} {row.label}")
    for why, labels in missing.items():
        more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
        yield f"–: {', '.join(labels[:3])}{more}: {why}"
    if len(summaries.panels) > 1 and not summaries.suite:
        yield "no mean over all tasks: no method has curves on all of them over a shared range of sparsities"


def _intervals(row: MethodSummary) -> Iterator[Interval]:
    for number in (*row.retained_at.values(), row.area):
        if number and number.interval:
            yield number.interval


def _plain(row: MethodSummary) -> dict[str, Any]:
    values: dict[str, Any] = {"task": row.task, "model": row.model, "method": row.label, "tasks": 1}
    for share in SHARES:
        name, retained = f"s{100 * share:g}", row.retained_at.get(share)
        values[name] = retained.sparsity if retained else None
        values[f"{name}_bounded"] = retained.bounded if retained else None
        values |= _plain_ends(name, retained.interval if retained else None)
    values |= _plain_area(row.area)
    for name in COSTS:
        times = row.times.get(name)
        key = f"times_{name.lower()}"
        values |= {key: times.mean if times else None, f"{key}_low": times.low if times else None}
        values |= {f"{key}_high": times.high if times else None}
        values[f"front_{name.lower()}"] = times.front if times and row.area else None
    return {**values, "why": row.why}


def _plain_area(area: Area | None) -> dict[str, Any]:
    low, high = area.over if area else (None, None)
    return {
        "area": area.value if area else None,
        **_plain_ends("area", area.interval if area else None),
        "area_from": low,
        "area_to": high,
    }


def _plain_ends(name: str, interval: Interval | None) -> dict[str, Any]:
    """Both ends and what the interval covers; infinite ends are None, as JSON has no infinity."""
    ends = {"low": interval.low, "high": interval.high} if interval else {"low": None, "high": None}
    finite = {end: value if value is None or math.isfinite(value) else None for end, value in ends.items()}
    values = {f"{name}_interval_{end}": value for end, value in finite.items()}
    return {**values, f"{name}_over": interval.over if interval else None}
