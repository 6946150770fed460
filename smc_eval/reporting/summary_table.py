"""Curves in words: what standings tell, as sheets for people and as plain values for programs."""

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
    """A number in words."""

    text: str
    below: str = ""
    """Its interval, or from where to where it goes."""
    key: float | None = None
    """By what it is sorted; None comes last."""

    @property
    def word(self) -> str:
        """A square of a sheet."""
        return f"{self.text}\n{self.below}" if self.below else self.text


def summary_texts(row: MethodSummary) -> tuple[NumberText, ...]:
    """A standing in words, under `SUMMARY_HEADS`."""
    return (
        *(_kept(row.retained_at.get(share)) for share in SHARES),
        _area(row.area),
        *(_times(row.times.get(name)) for name in COSTS),
        _front(row),
    )


def text_tables(summaries: Summaries, loud: tuple[str, ...] = ()) -> list[TextTable]:
    """The curves' numbers, and the score over all tasks where there are several.

    `loud` is what must be said of each that stands alone.
    """
    rows = summaries.rows
    models = len({row.model for row in rows}) > 1
    first = TextTable(
        ("task", *(["model"] if models else []), "method", *SUMMARY_HEADS),
        "ll" + "l" * models + "r" * (len(SUMMARY_HEADS) - 1) + "l",
        tuple(
            (row.task, *([row.model] if models else []), row.label, *(one.word for one in summary_texts(row)))
            for row in rows
        ),
        "what is kept of the dense score over sparsities, and at what cost",
        tuple(_notes(summaries)),
        loud,
    )
    return [first, *([_suite(summaries, loud)] if len(summaries.panels) > 1 and summaries.suite else [])]


def plain_values(summaries: Summaries) -> dict[str, list[dict[str, Any]]]:
    """Both as plain JSON values: `curves`, a line a method and task, and `suite`, a line a method."""
    return {
        "curves": [_plain(row) for row in summaries.rows],
        "suite": [
            {"task": None, "model": None, "method": one.label, "tasks": one.tasks, **_plain_area(one.area)}
            for one in summaries.suite
            if len(summaries.panels) > 1
        ],
    }


def _kept(kept: SparsityAtRetention | None) -> NumberText:
    if kept is None:
        return NumberText(ABSENT)
    beyond = {"above": 1e-6, "below": -1e-6, "within": 0.0}[kept.bounded]
    return NumberText(kept.text, _ends(kept.interval, ".3g"), kept.sparsity + beyond)


def _area(area: Area | None) -> NumberText:
    return (
        NumberText(f"{area.value:.3f}", _ends(area.interval, ".3f"), area.value)
        if area
        else NumberText(ABSENT)
    )


def _ends(sure: Interval | None, form: str) -> str:
    return f"{sure.low:{form}} to {sure.high:{form}}" if sure else ""


def _times(times: RelativeCost | None) -> NumberText:
    if times is None:
        return NumberText(ABSENT)
    low, high = f"{times.low:.3g}", f"{times.high:.3g}"
    spread = f"{low} to {high}" if low != high else ""
    if times.mean is None:
        return NumberText(spread or high, key=times.high)
    return NumberText(f"{times.mean:.3g}", spread, times.mean)


def _front(row: MethodSummary) -> NumberText:
    ahead = [name for name, times in row.times.items() if times.front]
    return NumberText(", ".join(ahead) if row.area else ABSENT, key=len(ahead) if row.area else None)


def _suite(summaries: Summaries, loud: tuple[str, ...]) -> TextTable:
    ranks = summaries.suite
    low, high = ranks[0].area.over
    overs = dict.fromkeys(one.area.interval.over for one in ranks if one.area.interval)
    return TextTable(
        ("method", "tasks", "area"),
        "lrr",
        tuple((one.label, str(one.tasks), _area(one.area).word) for one in ranks),
        "over all tasks",
        (
            f"area: mean of the tasks' areas over sparsities {low:.3g} to {high:.3g}, each counting the same",
            "only methods that every task has",
            *([f"behind each its 95 % interval, over {' or '.join(overs)}"] if overs else []),
        ),
        loud,
    )


def _notes(summaries: Summaries) -> Iterator[str]:
    rows = summaries.rows
    names = ", ".join(SUMMARY_HEADS[: len(SHARES)])
    shares = " and ".join(f"{100 * share:g}" for share in SHARES)
    yield f"largest sparsity that keeps {shares} % of the dense score above chance: {names}"
    spans = {(row.task, row.model): row.area.over for row in rows if row.area}
    said = dict.fromkeys(f"{low:.3g} to {high:.3g}" for low, high in spans.values())
    if len(said) > 1:
        said = dict.fromkeys(f"{low:.3g} to {high:.3g} ({at[0]})" for at, (low, high) in spans.items())
    if said:
        yield f"area: mean share of it over sparsities that all of a task have, {', '.join(said)}"
    if overs := dict.fromkeys(sure.over for row in rows for sure in _intervals(row)):
        yield f"behind each its 95 % interval, over {' or '.join(overs)}; behind costs the least and most"
    if any(row.times for row in rows):
        yield "×: training over the same sparsities, in units of the dense net's; FLOPs if zeros cost nothing"
        yield "front: no other method of the task has as large an area for no more of it, intervals apart"
    doubt = sum(
        s.free and s.cell_value.state == "doubt" for panel in summaries.panels for _, s in panel.squares
    )
    if doubt:
        yield f"! {doubt} square{'s' * (doubt > 1)} without a sound certificate: on no curve"
    lacking: dict[str, list[str]] = {}
    for row in rows:
        if row.why:
            lacking.setdefault(row.why, []).append(f"{row.task} {row.label}")
    for why, whose in lacking.items():
        more = f" and {len(whose) - 3} more" if len(whose) > 3 else ""
        yield f"–: {', '.join(whose[:3])}{more}: {why}"
    if len(summaries.panels) > 1 and not summaries.suite:
        yield "no score over all tasks: no method has a curve on each, over sparsities that they share"


def _intervals(row: MethodSummary) -> Iterator[Interval]:
    for one in (*row.retained_at.values(), row.area):
        if one and one.interval:
            yield one.interval


def _plain(row: MethodSummary) -> dict[str, Any]:
    found: dict[str, Any] = {"task": row.task, "model": row.model, "method": row.label, "tasks": 1}
    for share in SHARES:
        name, kept = f"s{100 * share:g}", row.retained_at.get(share)
        found |= {name: kept.sparsity if kept else None, f"{name}_bounded": kept.bounded if kept else None}
        found |= _plain_ends(name, kept.interval if kept else None)
    found |= _plain_area(row.area)
    for name in COSTS:
        times = row.times.get(name)
        key = f"times_{name.lower()}"
        found |= {key: times.mean if times else None, f"{key}_low": times.low if times else None}
        found |= {f"{key}_high": times.high if times else None}
        found[f"front_{name.lower()}"] = times.front if times and row.area else None
    return {**found, "why": row.why}


def _plain_area(area: Area | None) -> dict[str, Any]:
    low, high = area.over if area else (None, None)
    return {
        "area": area.value if area else None,
        **_plain_ends("area", area.interval if area else None),
        "area_from": low,
        "area_to": high,
    }


def _plain_ends(name: str, sure: Interval | None) -> dict[str, Any]:
    """An end that is beyond all bounds is None, as JSON has no infinity."""
    ends = {"low": sure.low, "high": sure.high} if sure else {"low": None, "high": None}
    finite = {end: value if value is None or math.isfinite(value) else None for end, value in ends.items()}
    told = {f"{name}_interval_{end}": value for end, value in finite.items()}
    return {**told, f"{name}_over": sure.over if sure else None}
