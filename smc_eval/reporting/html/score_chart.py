"""Score against sparsity: a line for each method, points for patterns, and the published curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smc_eval.reporting.html.figure import HIDDEN_METHODS, ONLY_SHOWN, Control, Figure, VegaSpec, depth_axis
from smc_eval.reporting.html.packed_rows import Rows
from smc_eval.reporting.html.pattern_points import (
    PatternShares,
    note_of,
    pattern_shares,
    point_layers,
    share_layers,
)
from smc_eval.reporting.html.style import HUES, Style, scales
from smc_eval.reporting.published import CITATION, PublishedPoint, metrics, points_for
from smc_eval.reporting.series import STEP, Panel, PlotPoint, Series

HEIGHT = 300

PUBLISHED_SWITCH = Control("published", "published curves", value=True)

MOST_BANDS = HUES
"""With more methods than these, intervals are hidden at first: their bands would cover each other."""

LINE_STYLES: dict[str, tuple[list[int], float]] = {
    "chance": ([2, 3], 1),
    "dense": ([1, 0], 1.4),
    "published dense": ([8, 4], 0.8),
}
"""Dash and width of the horizontal lines."""

HORIZONTAL_LINES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("chance", ()),
    ("dense", ()),
    ("published dense", ("published",)),
)
"""These lines, and the switches that show them."""

SCORE_TIP = (
    {"field": "label", "title": "method"},
    {"field": "column", "title": "sparsity"},
    {"field": "score", "title": "score"},
    {"field": "interval", "title": "95 % interval"},
    {"field": "note", "title": "remarks"},
)


def score_figure(panel: Panel, name: str, styles: Sequence[Style]) -> tuple[Figure, Rows]:
    """The figure of a panel, and its rows."""
    task = panel.task.partition(":")[0]
    points = points_for(task, panel.model, panel.metric)
    rows = [*_levels(panel), *_measured(panel), *_published(panel, points)]
    shares = pattern_shares(point for _, point in panel.points)
    figure = Figure(
        f"curves-{name}",
        panel.title,
        _description(panel),
        _spec(panel.metric, rows, styles, shares),
        f"scores-{name}",
        _note(panel, task, points) + note_of(shares),
        tuple(_controls(rows)),
        SCORE_TIP,
    )
    return figure, Rows(tuple(rows))


def _levels(panel: Panel) -> Iterator[dict[str, Any]]:
    """The dense nets, and the chance level."""
    values = set[float]()
    for series in panel.series:
        if series.dense and series.dense.cell_value.value not in values:
            values.add(series.dense.cell_value.value)
            yield {"kind": "dense", "label": "dense", **_number(panel, series.dense)}
    if panel.chance:
        chance = f"{panel.chance:.{panel.decimals}f}"
        yield {"kind": "chance", "label": "chance level", "value": panel.chance, "score": chance, "note": "–"}


def _measured(panel: Panel) -> Iterator[dict[str, Any]]:
    for series, point in panel.points:
        if point.placed:
            yield {
                "kind": "measured" if point.free else "pattern",
                "label": series.label,
                "state": point.cell_value.state,
                "column": point.column,
                "depth": point.depth,
                **_number(panel, point),
            }


def _number(panel: Panel, point: PlotPoint) -> dict[str, Any]:
    """A score, its interval and remarks."""
    digits, cell_value, interval = panel.decimals, point.cell_value, point.interval
    remarks = [*cell_value.remarks, *(["its certificate failed"] if cell_value.state == "doubt" else [])]
    if dead := sum(len(record.dead_tensors) for record in point.records):
        count = len(point.records)
        remarks.append(f"{dead} dead tensors in {count} net{'s' if count > 1 else ''}")
    row: dict[str, Any] = {
        "value": cell_value.value,
        "score": f"{cell_value.value:.{digits}f}",
        "interval": "unknown",
        "note": "; ".join(remarks) or "–",
    }
    if interval and (ends := interval.ends(f".{digits}f")):
        row["interval"] = f"{ends}, {interval.over}"
        if interval.finite:  # else there is no band to draw
            row |= {"low": interval.low, "high": interval.high}
    return row


def _published(panel: Panel, points: Sequence[PublishedPoint]) -> Iterator[dict[str, Any]]:
    """The published points of the panel's methods, labelled as the first series of each method."""
    first_series: dict[str, Series] = {}
    for series in panel.series:
        first_series.setdefault(series.method, series)
    for point in points:
        row = {
            "value": point.value,
            "score": f"{point.value:g} (published, {point.model})",
            "interval": f"none published; value read to ±{point.uncertainty:g} ({point.source})",
            "note": point.note or "–",
        }
        if point.method == "dense":
            yield {"kind": "published dense", "label": "dense", **row}
        elif point.method in first_series:
            yield {
                "kind": "published",
                "label": first_series[point.method].label,
                "column": f"{point.sparsity:g}",
                "depth": math.log1p(-point.sparsity) / STEP,
                "odd": bool(point.note),
                **row,
            }


def _note(panel: Panel, task: str, points: Sequence[PublishedPoint]) -> str:
    """The source of the published curves, or why there are none."""
    if points:
        published = points[0].model
        same = published.rpartition("/")[2].lower() == panel.model.rpartition("/")[2].lower()
        model = f"the same model, {published}" if same else f"{published}, not {panel.model}"
        return (
            f"Thin lines are published results with {model}. A small hollow point is not a valid result: its "
            f"remarks say why. Source: {CITATION}."
        )
    if names := metrics(task):
        return f"SMC-Bench published {', '.join(names)}, which is not this score."
    return "SMC-Bench published no results of this task."


def _description(panel: Panel) -> str:
    """The figure in words: the first and the last score of each method, and those of its patterns."""
    dense = next((series.dense for series in panel.series if series.dense), None)
    sentences = [f"{panel.metric} against sparsity for {panel.title}."]
    if dense:
        sentences.append(f"Dense: {dense.cell_value.value:.{panel.decimals}f}.")
    for series in panel.series:
        patterns = tuple(p for p in series.points if not p.free and p.cell_value.state == "ok")
        told = series.sound[:1] + series.sound[-1:] + patterns
        ends = dict.fromkeys((point.column, point.cell_value.value) for point in told)
        scores = ", ".join(f"{value:.{panel.decimals}f} at {column}" for column, value in ends)
        sentences += [f"{series.label}: {scores}."] if scores else []
    return " ".join(sentences)


def _spec(
    metric: str, rows: Sequence[Mapping[str, Any]], styles: Sequence[Style], shares: PatternShares
) -> VegaSpec:
    """The layers that have data, from the bottom up."""
    measured = [row for row in rows if row["kind"] == "measured"]
    certified = [row for row in measured if row["state"] == "ok"]
    y = {"field": "value", "type": "quantitative", "title": metric, "scale": {"zero": False}}
    level = {"y": y, "tooltip": [SCORE_TIP[0], *SCORE_TIP[2:]]}
    place = {"x": depth_axis({row["depth"] for row in rows if "depth" in row}), "y": y}
    kinds = {row["kind"] for row in rows}
    levels = [(kind, switch) for kind, switch in HORIZONTAL_LINES if kind in kinds]
    layers = [_layer(kind, _rule(*LINE_STYLES[kind]), level, *switch) for kind, switch in levels]
    layers += share_layers(place, shares)
    layers += [_interval_layer(place, styles)] if any("low" in row for row in certified) else []
    layers += _published_layers(place, styles) if "published" in kinds else []
    layers += _measured_layers(place, styles) if certified else []
    layers += _pattern_layers(place, styles, shares)
    layers += [_uncertified_layer(place)] if any(row.get("state") == "doubt" for row in rows) else []
    return {"height": HEIGHT, "params": [HIDDEN_METHODS], "layer": layers}


def _controls(rows: Sequence[Mapping[str, Any]]) -> Iterator[Control]:
    """Switches of what the figure has."""
    if any(row["kind"] in {"published", "published dense"} for row in rows):
        yield PUBLISHED_SWITCH
    if bands := {row["label"] for row in rows if row["kind"] == "measured" and "low" in row}:
        yield Control("bands", "95 % intervals", value=len(bands) <= MOST_BANDS)


def _interval_layer(place: VegaSpec, styles: Sequence[Style]) -> VegaSpec:
    """The bands of 95 % confidence intervals; without height if the reader hides them."""
    color = scales(styles)["color"]
    ends = {"x": place["x"], "y": {**place["y"], "field": "bottom"}, "y2": {"field": "top"}, "color": color}
    layer = _layer(
        "measured", {"type": "area", "opacity": 0.16}, ends, "datum.state == 'ok'", "isValid(datum.low)"
    )
    shown = [
        {"calculate": f"bands ? datum.{end} : datum.value", "as": name}
        for end, name in (("low", "bottom"), ("high", "top"))
    ]
    return {**layer, "transform": [*layer["transform"], *shown]}


def _published_layers(place: VegaSpec, styles: Sequence[Style]) -> list[VegaSpec]:
    """The published curves."""
    color = scales(styles)["color"]
    inside = {**color, "legend": None}
    hollow = {**inside, "condition": {"test": "datum.odd", "value": "var(--sheet)"}}
    thin = {"type": "line", "strokeWidth": 0.9, "opacity": 0.75}
    small = {"type": "point", "size": 18, "strokeWidth": 1.1, "opacity": 0.9}
    return [
        _layer("published", thin, {**place, "color": color}, "published"),
        _layer(
            "published", small, {**place, "stroke": inside, "fill": hollow, "tooltip": SCORE_TIP}, "published"
        ),
    ]


def _measured_layers(place: VegaSpec, styles: Sequence[Style]) -> list[VegaSpec]:
    """The measured curves and their points."""
    scale, sound = scales(styles), "datum.state == 'ok'"
    line = {**place, "color": scale["color"], "strokeDash": scale["strokeDash"]}
    marks = {**place, "color": scale["color"], "shape": scale["shape"], "tooltip": SCORE_TIP}
    mark = {"type": "point", "filled": True, "size": 62, "opacity": 1}
    return [
        _layer("measured", {"type": "line"}, line, sound),
        _layer("measured", mark, marks, sound),
    ]


def _pattern_layers(place: VegaSpec, styles: Sequence[Style], shares: PatternShares) -> list[VegaSpec]:
    """The points of patterns."""
    scale, kind = scales(styles), {"filter": "datum.kind == 'pattern'"}
    encoding = {**place, "shape": scale["shape"], "tooltip": SCORE_TIP}
    return point_layers(encoding, shares, [kind, ONLY_SHOWN], scale["color"])


def _uncertified_layer(place: VegaSpec) -> VegaSpec:
    """Points whose certificate failed; they are on no line."""
    mark = {"type": "point", "shape": "circle", "size": 120, "stroke": "var(--alarm)", "strokeWidth": 2}
    layer = _layer("measured", mark, {**place, "tooltip": SCORE_TIP}, "datum.state == 'doubt'")
    measured_or_pattern = {"filter": "datum.kind == 'measured' || datum.kind == 'pattern'"}
    return {**layer, "transform": [measured_or_pattern, *layer["transform"][1:]]}


def _layer(kind: str, mark: VegaSpec, encoding: VegaSpec, *filters: str) -> VegaSpec:
    tests = [f"datum.kind == '{kind}'", *filters]
    transform = [*({"filter": test} for test in tests), ONLY_SHOWN]
    return {"transform": transform, "mark": mark, "encoding": encoding}


def _rule(dash: list[int], width: float) -> VegaSpec:
    return {"type": "rule", "stroke": "var(--soft)", "strokeDash": dash, "strokeWidth": width}
