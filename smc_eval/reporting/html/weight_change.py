"""The change of weights from their initial values: a thin line per tensor, a thick one for all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smc_eval.reporting.html.figure import Figure, VegaSpec, depth_axis, menu
from smc_eval.reporting.html.layer_heatmap import common_tensors, tensor_means
from smc_eval.reporting.html.packed_rows import Matrix
from smc_eval.reporting.series import Panel
from smc_eval.store.record import Record

ALL_IN_SCOPE = "all in scope"


def weight_change_figure(panel: Panel, name: str) -> tuple[Figure, Matrix] | None:
    """The figure and its numbers; None if no record has changes of weights."""
    drawn = [
        (series, point)
        for series in panel.series
        for point in (*([series.dense] if series.dense else []), *series.points)
        if (point.free or point is series.dense) and common_tensors(point, _tensors)
    ]
    if not drawn:
        return None
    names = tuple(dict.fromkeys(n for _, point in drawn for n in common_tensors(point, _tensors)))
    points = tuple(
        (
            series.label,
            point.column,
            point.depth if point.free else 0.0,
            (point.mean(_scope), *tensor_means(point, names, _tensors)),
        )
        for series, point in drawn
    )
    labels = list(dict.fromkeys(label for label, *_ in points))
    figure = Figure(
        f"moved-{name}",
        panel.title,
        f"Change of the weights of {len(names)} tensors from their initial values, relative to the norm of "
        f"these, against sparsity, for {panel.title}.",
        _spec(labels, {point[2] for point in points}),
        f"moved-{name}",
        f"‖w − w₀‖ / ‖w₀‖ over unpruned weights; thick line: {ALL_IN_SCOPE}; leftmost points: the dense net.",
    )
    return figure, Matrix((ALL_IN_SCOPE, *names), "moved", points, logarithmic=True)


def _tensors(record: Record) -> Mapping[str, float | None]:
    """The change of each tensor's unpruned weights; that of pruned weights is not learnt."""
    return record.certificate.moved.tensors_remaining if record.certificate else {}


def _scope(record: Record) -> float | None:
    return record.certificate.moved.scope_remaining if record.certificate else None


def _spec(labels: Sequence[str], depths: set[float]) -> VegaSpec:
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
    tip = [
        {"field": "tensor"},
        {"field": "column", "title": "sparsity"},
        {"field": "moved", "title": "change", "format": ".3g"},
    ]
    thin, thick = f"datum.tensor != '{ALL_IN_SCOPE}'", f"datum.tensor == '{ALL_IN_SCOPE}'"
    return {
        "height": 260,
        "params": [menu("method", list(labels), labels[0], "method")],
        "transform": [{"filter": "datum.label == method && datum.moved > 0"}],
        "layer": [
            {
                "transform": [{"filter": thin}],
                "mark": {"type": "line", "strokeWidth": 0.8, "opacity": 0.45, "stroke": "var(--hue-0)"},
                "encoding": {**place, "detail": {"field": "tensor"}, "tooltip": tip},
            },
            {
                "transform": [{"filter": thick}],
                "mark": {
                    "type": "line",
                    "strokeWidth": 2.6,
                    "stroke": "var(--ink)",
                    "point": {"filled": True, "color": "var(--ink)"},
                },
                "encoding": {**place, "tooltip": tip},
            },
        ],
    }
