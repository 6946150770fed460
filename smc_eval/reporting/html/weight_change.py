"""The change of weights from their initial values: a thin line per tensor, a thick one for all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smc_eval.reporting.html.figure import Control, Figure, VegaSpec, depth_axis
from smc_eval.reporting.html.layer_heatmap import common_tensors, tensor_means
from smc_eval.reporting.html.packed_rows import Matrix
from smc_eval.reporting.html.pattern_points import (
    IS_PATTERN,
    PatternShares,
    note_of,
    pattern_shares,
    point_layers,
    share_layers,
)
from smc_eval.reporting.series import Panel
from smc_eval.store.record import Record

ALL_IN_SCOPE = "all in scope"

CHANGE_TIP = (
    {"field": "tensor", "title": "tensor"},
    {"field": "column", "title": "sparsity"},
    {"field": "moved", "title": "change", "format": ".3g"},
)


def weight_change_figure(panel: Panel, name: str) -> tuple[Figure, Matrix] | None:
    """The figure and its numbers; None if no record has changes of weights."""
    drawn = [
        (series, point)
        for series in panel.series
        for point in (*([series.dense] if series.dense else []), *series.points)
        if (point.placed or point is series.dense) and common_tensors(point, _tensors)
    ]
    if not drawn:
        return None
    names = tuple(dict.fromkeys(n for _, point in drawn for n in common_tensors(point, _tensors)))
    points = tuple(
        (
            series.label,
            point.column,
            point.depth if point.placed else 0.0,
            (point.mean(_scope), *tensor_means(point, names, _tensors)),
        )
        for series, point in drawn
    )
    labels = list(dict.fromkeys(label for label, *_ in points))
    shares = pattern_shares(point for _, point in drawn)
    figure = Figure(
        f"moved-{name}",
        panel.title,
        f"Change of the weights of {len(names)} tensors from their initial values, relative to the norm of "
        f"these, against sparsity, for {panel.title}.",
        _spec({point[2] for point in points}, shares),
        f"moved-{name}",
        f"The numbers are ‖w − w₀‖ / ‖w₀‖ over unpruned weights. The thick line is {ALL_IN_SCOPE}. The "
        f"leftmost points are the dense net.{note_of(shares)}",
        (Control("method", "method", labels[0], tuple(labels), "label"),),
        CHANGE_TIP,
    )
    return figure, Matrix((ALL_IN_SCOPE, *names), "moved", points, logarithmic=True)


def _tensors(record: Record) -> Mapping[str, float | None]:
    """The change of each tensor's unpruned weights; that of pruned weights is not learnt."""
    return record.certificate.moved.tensors_remaining if record.certificate else {}


def _scope(record: Record) -> float | None:
    return record.certificate.moved.scope_remaining if record.certificate else None


def _spec(depths: set[float], shares: PatternShares) -> VegaSpec:
    place = {
        "x": depth_axis(depths, first=0.0),
        "y": {
            "field": "moved",
            "type": "quantitative",
            "title": "‖w − w₀‖ / ‖w₀‖",
            "scale": {"type": "log"},
            "axis": {"format": ".2~g", "labelOverlap": "greedy", "tickCount": 5},
        },
    }
    free, pattern = f"!({IS_PATTERN})", IS_PATTERN
    one, together = f"datum.tensor != '{ALL_IN_SCOPE}'", f"datum.tensor == '{ALL_IN_SCOPE}'"
    thin = {"strokeWidth": 0.8, "opacity": 0.45, "stroke": "var(--hue-0)"}
    thick = {"strokeWidth": 2.6, "stroke": "var(--ink)", "point": {"filled": True, "color": "var(--ink)"}}
    detail = {**place, "detail": {"field": "tensor"}, "tooltip": CHANGE_TIP}
    whole = {**place, "tooltip": CHANGE_TIP}
    tensors = [_layer([pattern, one], {"type": "point", "size": 14, **thin}, detail)] if shares else []
    return {
        "height": 260,
        "transform": [{"filter": "datum.label == method && datum.moved > 0"}],
        "layer": [
            *share_layers(place, shares),
            _layer([free, one], {"type": "line", **thin}, detail),
            _layer([free, together], {"type": "line", **thick}, whole),
            *tensors,
            *point_layers(whole, shares, [{"filter": together}], {"value": "var(--ink)"}),
        ],
    }


def _layer(tests: Sequence[str], mark: VegaSpec, encoding: VegaSpec) -> VegaSpec:
    return {"transform": [{"filter": test} for test in tests], "mark": mark, "encoding": encoding}
