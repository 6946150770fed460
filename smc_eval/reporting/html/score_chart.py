"""Curves: score against sparsity, a line a method, what was published laid under."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smc_eval.reporting.html.figure import HIDDEN_METHODS, ONLY_SHOWN, Figure, VegaSpec, depth_axis
from smc_eval.reporting.html.packed_rows import Rows
from smc_eval.reporting.html.style import Style, scales
from smc_eval.reporting.published import CITATION, PublishedPoint, metrics, points_for
from smc_eval.reporting.series import STEP, Panel, PlotPoint, Series

HEIGHT = 300

PUBLISHED_SWITCH: VegaSpec = {
    "name": "published",
    "value": True,
    "bind": {"input": "checkbox", "name": "published curves "},
}

LEVEL_STYLES: dict[str, tuple[list[int], float]] = {
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


def score_figure(panel: Panel, name: str, chosen: Sequence[Style]) -> tuple[Figure, Rows]:
    """The figure of a panel and its rows."""
    task = panel.task.partition(":")[0]
    points = points_for(task, panel.model, panel.metric)
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
        if line.dense and line.dense.cell_value.value not in told:
            told.add(line.dense.cell_value.value)
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
                "state": square.cell_value.state,
                "column": square.column,
                "depth": square.depth,
                **_number(panel, square),
            }


def _number(panel: Panel, square: PlotPoint) -> dict[str, Any]:
    """A score, its interval and what else must be known of it."""
    digits, cell_value, sure = panel.decimals, square.cell_value, square.interval
    remarks = [*cell_value.remarks, *(["its certificate failed"] if cell_value.state == "doubt" else [])]
    if dead := sum(len(record.dead_tensors) for record in square.records):
        count = len(square.records)
        remarks.append(f"{dead} dead tensors in {count} net{'s' if count > 1 else ''}")
    row: dict[str, Any] = {
        "value": cell_value.value,
        "told": f"{cell_value.value:.{digits}f}",
        "sure": "not known",
    }
    row["note"] = "; ".join(remarks) or "–"
    if sure:
        row |= {"low": sure.low, "high": sure.high}
        row["sure"] = f"{sure.low:.{digits}f} to {sure.high:.{digits}f}, {sure.over}"
    return row


def _theirs(panel: Panel, points: Sequence[PublishedPoint]) -> Iterator[dict[str, Any]]:
    """The published points of methods that ours has too, under the label of the first of the name."""
    ours: dict[str, Series] = {}
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


def _note(panel: Panel, task: str, points: Sequence[PublishedPoint]) -> str:
    """Whose numbers lie under ours, or why none do."""
    if points:
        theirs = points[0].model
        same = theirs.rpartition("/")[2].lower() == panel.model.rpartition("/")[2].lower()
        model = f"the same model, {theirs}" if same else f"{theirs}, not {panel.model}"
        return f"Thin: published, with {model}; hollow: not to be taken for a result. {CITATION}."
    if found := metrics(task):
        return f"Published as {', '.join(found)}, which is not this score: nothing is laid under."
    return "SMC-Bench published nothing on this task: nothing is laid under."


def _told(panel: Panel) -> str:
    """The figure in words: where each method begins and ends."""
    dense = next((line.dense for line in panel.lines if line.dense), None)
    said = [f"{panel.metric} against sparsity for {panel.title}."]
    if dense:
        said.append(f"Dense: {dense.cell_value.value:.{panel.decimals}f}.")
    for line in panel.lines:
        ends = dict.fromkeys((s.column, s.cell_value.value) for s in line.sound[:1] + line.sound[-1:])
        told = ", ".join(f"{value:.{panel.decimals}f} at {column}" for column, value in ends)
        said += [f"{line.label}: {told}."] if told else []
    return " ".join(said)


def _spec(metric: str, rows: Sequence[Mapping[str, Any]], chosen: Sequence[Style]) -> VegaSpec:
    """Layers that have something to draw, from the bottom up."""
    ours = [row for row in rows if row["kind"] == "ours"]
    y = {"field": "value", "type": "quantitative", "title": metric, "scale": {"zero": False}}
    level = {"y": y, "tooltip": [TIP[0], *TIP[2:]]}
    place = {"x": depth_axis({row["depth"] for row in rows if "depth" in row}), "y": y}
    kinds = {row["kind"] for row in rows}
    layers = [_layer(kind, _rule(*LEVEL_STYLES[kind]), level, *on) for kind, on in LEVELLED if kind in kinds]
    layers += [_band(place, chosen)] if any("low" in row and row["state"] == "ok" for row in ours) else []
    layers += _under(place, chosen) if "published" in kinds else []
    layers += _over(place, chosen) if any(row["state"] == "ok" for row in ours) else []
    layers += [_doubt(place)] if any(row["state"] == "doubt" for row in ours) else []
    theirs = [PUBLISHED_SWITCH] if kinds & {"published", "published dense"} else []
    return {"height": HEIGHT, "params": [HIDDEN_METHODS, *theirs], "layer": layers}


def _band(place: VegaSpec, chosen: Sequence[Style]) -> VegaSpec:
    """95 % intervals."""
    color = scales(chosen)["color"]
    ends = {"x": place["x"], "y": {**place["y"], "field": "low"}, "y2": {"field": "high"}, "color": color}
    mark = {"type": "area", "opacity": 0.16}
    return _layer("ours", mark, ends, "datum.state == 'ok'", "isValid(datum.low)")


def _under(place: VegaSpec, chosen: Sequence[Style]) -> list[VegaSpec]:
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


def _over(place: VegaSpec, chosen: Sequence[Style]) -> list[VegaSpec]:
    """Our lines and their marks."""
    scale, sound = scales(chosen), "datum.state == 'ok'"
    line = {**place, "color": scale["color"], "strokeDash": scale["strokeDash"]}
    marks = {**place, "color": scale["color"], "shape": scale["shape"], "tooltip": TIP}
    mark = {"type": "point", "filled": True, "size": 62, "opacity": 1}
    return [
        _layer("ours", {"type": "line"}, line, sound),
        _layer("ours", mark, marks, sound),
    ]


def _doubt(place: VegaSpec) -> VegaSpec:
    """What lost its certificate: no line leads there."""
    mark = {"type": "point", "shape": "circle", "size": 120, "stroke": "var(--alarm)", "strokeWidth": 2}
    return _layer("ours", mark, {**place, "tooltip": TIP}, "datum.state == 'doubt'")


def _layer(kind: str, mark: VegaSpec, encoding: VegaSpec, *filters: str) -> VegaSpec:
    kept = [f"datum.kind == '{kind}'", *filters]
    return {"transform": [*({"filter": one} for one in kept), ONLY_SHOWN], "mark": mark, "encoding": encoding}


def _rule(dash: list[int], width: float) -> VegaSpec:
    return {"type": "rule", "stroke": "var(--soft)", "strokeDash": dash, "strokeWidth": width}
