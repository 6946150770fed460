"""Travel: how far weights moved from where they began, a thin line a tensor, a thick one all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smc_eval.reporting.html.figure import Figure, VegaSpec, choice, depth_axis
from smc_eval.reporting.html.layer_heatmap import means, tensors
from smc_eval.reporting.html.packed_rows import Matrix
from smc_eval.reporting.series import Panel
from smc_eval.store.record import Record

ALL_IN_SCOPE = "all in scope"


def weight_change_figure(panel: Panel, name: str) -> tuple[Figure, Matrix] | None:
    """The figure and its numbers; None where no record tells how far weights moved."""
    told = [
        (line, square)
        for line in panel.lines
        for square in (*([line.dense] if line.dense else []), *line.squares)
        if (square.free or square is line.dense) and tensors(square, _tensors)
    ]
    if not told:
        return None
    names = tuple(dict.fromkeys(n for _, square in told for n in tensors(square, _tensors)))
    squares = tuple(
        (
            line.label,
            square.column,
            square.depth if square.free else 0.0,
            (square.mean(_scope), *means(square, names, _tensors)),
        )
        for line, square in told
    )
    labels = list(dict.fromkeys(label for label, *_ in squares))
    figure = Figure(
        f"moved-{name}",
        panel.title,
        f"How far the weights of {len(names)} tensors moved from where they began, relative to "
        f"their size there, against sparsity, for {panel.title}.",
        _spec(labels, {square[2] for square in squares}),
        f"moved-{name}",
        f"‖w − w₀‖ / ‖w₀‖ over unpruned weights; thick: {ALL_IN_SCOPE}; at the left end the dense net.",
    )
    return figure, Matrix((ALL_IN_SCOPE, *names), "moved", squares, logarithmic=True)


def _tensors(record: Record) -> Mapping[str, float | None]:
    """The change of each tensor's unpruned weights: a weight that a mask sets to zero has not learnt."""
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
        {"field": "moved", "title": "moved", "format": ".3g"},
    ]
    thin, thick = f"datum.tensor != '{ALL_IN_SCOPE}'", f"datum.tensor == '{ALL_IN_SCOPE}'"
    return {
        "height": 260,
        "params": [choice("who", list(labels), labels[0], "method")],
        "transform": [{"filter": "datum.label == who && datum.moved > 0"}],
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
