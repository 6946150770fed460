"""Curves: score against sparsity, a line a method, what was published laid under."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smc_eval.reporting.html.figure import OFF, SHOWN, Figure, Spec, depth_axis
from smc_eval.reporting.html.packed_rows import Rows
from smc_eval.reporting.html.style import Style, scales
from smc_eval.reporting.published import PAPER, Point, laid_under, metrics
from smc_eval.reporting.series import STEP, Line, Panel, Square

HEIGHT = 300

PUBLISHED: Spec = {
    "name": "published",
    "value": True,
    "bind": {"input": "checkbox", "name": "published curves "},
}

LEVELS: dict[str, tuple[list[int], float]] = {
    "chance": ([2, 3], 1),
    "dense": ([1, 0], 1.4),
    "published dense": ([8, 4], 0.8),
}
"""Dash and width of what is the same at every sparsity."""

LEVELLED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("chance", ()),
    ("dense", ()),
    ("published dense", ("published",)),
)
"""Those levels, and on which switch they hang."""

TIP = [
    {"field": "label", "title": "method"},
    {"field": "column", "title": "sparsity"},
    {"field": "told", "title": "score"},
    {"field": "sure", "title": "95 %"},
    {"field": "note", "title": "to know"},
]


def curves(panel: Panel, name: str, chosen: Sequence[Style]) -> tuple[Figure, Rows]:
    """The figure of a panel and its rows."""
    task = panel.task.partition(":")[0]
    points = laid_under(task, panel.model, panel.metric)
    rows = [*_levels(panel), *_ours(panel), *_theirs(panel, points)]
    figure = Figure(
        f"curves-{name}",
        panel.title,
        _told(panel),
        _spec(panel.metric, rows, chosen),
        f"scores-{name}",
        _note(panel, task, points),
    )
    return figure, Rows(tuple(rows))


def _levels(panel: Panel) -> Iterator[dict[str, Any]]:
    """The dense net, and a guess."""
    told = set[float]()
    for line in panel.lines:
        if line.dense and line.dense.entry.value not in told:
            told.add(line.dense.entry.value)
            yield {"kind": "dense", "label": "dense", **_number(panel, line.dense)}
    if panel.chance:
        chance = f"{panel.chance:.{panel.decimals}f}"
        yield {"kind": "chance", "label": "a guess", "value": panel.chance, "told": chance, "note": "–"}


def _ours(panel: Panel) -> Iterator[dict[str, Any]]:
    for line, square in panel.squares:
        if square.free:
            yield {
                "kind": "ours",
                "label": line.label,
                "state": square.entry.state,
                "column": square.column,
                "depth": square.depth,
                **_number(panel, square),
            }


def _number(panel: Panel, square: Square) -> dict[str, Any]:
    """A score, its interval and what else must be known of it."""
    digits, entry, sure = panel.decimals, square.entry, square.interval
    remarks = [*entry.remarks, *(["its certificate failed"] if entry.state == "doubt" else [])]
    if dead := sum(len(record.certificate.get("dead_tensors", ())) for record in square.records):
        count = len(square.records)
        remarks.append(f"{dead} dead tensors in {count} net{'s' if count > 1 else ''}")
    row: dict[str, Any] = {"value": entry.value, "told": f"{entry.value:.{digits}f}", "sure": "not known"}
    row["note"] = "; ".join(remarks) or "–"
    if sure:
        row |= {"low": sure.low, "high": sure.high}
        row["sure"] = f"{sure.low:.{digits}f} to {sure.high:.{digits}f}, {sure.over}"
    return row


def _theirs(panel: Panel, points: Sequence[Point]) -> Iterator[dict[str, Any]]:
    """The published points of methods that ours has too, under the label of the first of the name."""
    ours: dict[str, Line] = {}
    for line in panel.lines:
        ours.setdefault(line.method, line)
    for point in points:
        row = {
            "value": point.value,
            "told": f"{point.value:g} (published, {point.model})",
            "sure": f"read to ±{point.uncertainty:g} ({point.source}); no interval is published",
            "note": point.note or "–",
        }
        if point.method == "dense":
            yield {"kind": "published dense", "label": "dense", **row}
        elif point.method in ours:
            yield {
                "kind": "published",
                "label": ours[point.method].label,
                "column": f"{point.sparsity:g}",
                "depth": math.log1p(-point.sparsity) / STEP,
                "odd": bool(point.note),
                **row,
            }


def _note(panel: Panel, task: str, points: Sequence[Point]) -> str:
    """Whose numbers lie under ours, or why none do."""
    if points:
        theirs = points[0].model
        same = theirs.rpartition("/")[2].lower() == panel.model.rpartition("/")[2].lower()
        model = f"the same model, {theirs}" if same else f"{theirs}, not {panel.model}"
        return f"Thin: published, with {model}; hollow: not to be taken for a result. {PAPER}."
    if found := metrics(task):
        return f"Published as {', '.join(found)}, which is not this score: nothing is laid under."
    return "SMC-Bench published nothing on this task: nothing is laid under."


def _told(panel: Panel) -> str:
    """The figure in words: where each method begins and ends."""
    dense = next((line.dense for line in panel.lines if line.dense), None)
    said = [f"{panel.metric} against sparsity for {panel.title}."]
    if dense:
        said.append(f"Dense: {dense.entry.value:.{panel.decimals}f}.")
    for line in panel.lines:
        ends = dict.fromkeys((s.column, s.entry.value) for s in line.sound[:1] + line.sound[-1:])
        told = ", ".join(f"{value:.{panel.decimals}f} at {column}" for column, value in ends)
        said += [f"{line.label}: {told}."] if told else []
    return " ".join(said)


def _spec(metric: str, rows: Sequence[Mapping[str, Any]], chosen: Sequence[Style]) -> Spec:
    """Layers that have something to draw, from the bottom up."""
    ours = [row for row in rows if row["kind"] == "ours"]
    y = {"field": "value", "type": "quantitative", "title": metric, "scale": {"zero": False}}
    level = {"y": y, "tooltip": [TIP[0], *TIP[2:]]}
    place = {"x": depth_axis({row["depth"] for row in rows if "depth" in row}), "y": y}
    kinds = {row["kind"] for row in rows}
    layers = [_layer(kind, _rule(*LEVELS[kind]), level, *on) for kind, on in LEVELLED if kind in kinds]
    layers += [_band(place, chosen)] if any("low" in row and row["state"] == "ok" for row in ours) else []
    layers += _under(place, chosen) if "published" in kinds else []
    layers += _over(place, chosen) if any(row["state"] == "ok" for row in ours) else []
    layers += [_doubt(place)] if any(row["state"] == "doubt" for row in ours) else []
    theirs = [PUBLISHED] if kinds & {"published", "published dense"} else []
    return {"height": HEIGHT, "params": [OFF, *theirs], "layer": layers}


def _band(place: Spec, chosen: Sequence[Style]) -> Spec:
    """95 % intervals."""
    color = scales(chosen)["color"]
    ends = {"x": place["x"], "y": {**place["y"], "field": "low"}, "y2": {"field": "high"}, "color": color}
    mark = {"type": "area", "opacity": 0.16}
    return _layer("ours", mark, ends, "datum.state == 'ok'", "isValid(datum.low)")


def _under(place: Spec, chosen: Sequence[Style]) -> list[Spec]:
    """What was published."""
    color = scales(chosen)["color"]
    inside = {**color, "legend": None}
    hollow = {**inside, "condition": {"test": "datum.odd", "value": "var(--sheet)"}}
    thin = {"type": "line", "strokeWidth": 0.9, "opacity": 0.75}
    small = {"type": "point", "size": 18, "strokeWidth": 1.1, "opacity": 0.9}
    return [
        _layer("published", thin, {**place, "color": color}, "published"),
        _layer("published", small, {**place, "stroke": inside, "fill": hollow, "tooltip": TIP}, "published"),
    ]


def _over(place: Spec, chosen: Sequence[Style]) -> list[Spec]:
    """Our lines and their marks."""
    scale, sound = scales(chosen), "datum.state == 'ok'"
    line = {**place, "color": scale["color"], "strokeDash": scale["strokeDash"]}
    marks = {**place, "color": scale["color"], "shape": scale["shape"], "tooltip": TIP}
    mark = {"type": "point", "filled": True, "size": 62, "opacity": 1}
    return [
        _layer("ours", {"type": "line"}, line, sound),
        _layer("ours", mark, marks, sound),
    ]


def _doubt(place: Spec) -> Spec:
    """What lost its certificate: no line leads there."""
    mark = {"type": "point", "shape": "circle", "size": 120, "stroke": "var(--alarm)", "strokeWidth": 2}
    return _layer("ours", mark, {**place, "tooltip": TIP}, "datum.state == 'doubt'")


def _layer(kind: str, mark: Spec, encoding: Spec, *filters: str) -> Spec:
    kept = [f"datum.kind == '{kind}'", *filters]
    return {"transform": [*({"filter": one} for one in kept), SHOWN], "mark": mark, "encoding": encoding}


def _rule(dash: list[int], width: float) -> Spec:
    return {"type": "rule", "stroke": "var(--soft)", "strokeDash": dash, "strokeWidth": width}
