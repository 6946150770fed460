"""Score against cost, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from smc_eval.reporting.cost import CostMeasure, flops_cost, pareto_front, prediction_flops, steps_cost
from smc_eval.reporting.html.figure import (
    HIDDEN_METHODS,
    ONLY_SHOWN,
    Control,
    Figure,
    VegaSpec,
    column_menu,
    default_column,
)
from smc_eval.reporting.html.packed_rows import Rows
from smc_eval.reporting.html.style import Style, scales
from smc_eval.reporting.series import Panel

MEASURES: dict[str, CostMeasure] = {
    "training steps": steps_cost,
    "training FLOPs, dense": flops_cost("dense"),
    "training FLOPs, sparse": flops_cost("sparse"),
    "prediction FLOPs": prediction_flops,
}

COST_TIP = (
    {"field": "label", "title": "method"},
    {"field": "column", "title": "sparsity"},
    {"field": "score", "title": "score"},
    {"field": "times", "title": "cost"},
)


def cost_figure(panel: Panel, name: str, styles: Sequence[Style]) -> tuple[Figure, Rows] | None:
    """The figure and its rows; None if no cost relative to the dense net is known."""
    rows = [row for column in panel.columns for row in _at(panel, column)]
    if not rows:
        return None
    columns = list(dict.fromkeys(row["column"] for row in rows))
    measures = [measure for measure in MEASURES if any(row["measure"] == measure for row in rows)]
    first = "training steps" if "training steps" in measures else measures[0]
    column = default_column(columns)
    front = [
        f"{row['label']} ({row['score']} at {row['times']})"
        for row in rows
        if row["front"] and row["column"] == column and row["measure"] == first
    ]
    figure = Figure(
        f"cost-{name}",
        panel.title,
        f"{panel.metric} against {first}, relative to the dense net, for {panel.title}. "
        f"The Pareto front at sparsity {column}: {', '.join(front)}.",
        _spec(panel.metric, styles),
        f"cost-{name}",
        controls=(
            column_menu(columns),
            Control("by", "cost", first, tuple(measures), "measure"),
        ),
        numbers=COST_TIP,
    )
    return figure, Rows(tuple(rows))


def _at(panel: Panel, column: str) -> Iterator[dict[str, Any]]:
    """Every method at one sparsity by every measure, and whether it is on the Pareto front."""
    for measure, number in MEASURES.items():
        rows: list[dict[str, Any]] = [
            {
                "column": column,
                "measure": measure,
                "label": series.label,
                "cost": cost,
                "times": f"{cost:.3g} × dense",
                "value": point.cell_value.value,
                "score": f"{point.cell_value.value:.{panel.decimals}f}",
            }
            for series, point in panel.points
            if point.column == column
            and point.cell_value.state == "ok"
            and (cost := series.relative_cost(point, number))
        ]
        sign = 1 if panel.higher else -1
        fronts = pareto_front([(sign * row["value"], row["cost"]) for row in rows])
        yield from ({**row, "front": front} for row, front in zip(rows, fronts, strict=True))


def _spec(metric: str, styles: Sequence[Style]) -> VegaSpec:
    scale = scales(styles)
    place = {
        "x": {
            "field": "cost",
            "type": "quantitative",
            "title": "× dense",
            "scale": {"type": "log", "nice": False, "padding": 18},
            "axis": {"format": ".3~g", "grid": False, "labelOverlap": "greedy"},
        },
        "y": {"field": "value", "type": "quantitative", "title": metric, "scale": {"zero": False}},
    }
    return {
        "height": 260,
        "params": [HIDDEN_METHODS],
        "transform": [{"filter": "datum.column == at && datum.measure == by"}, ONLY_SHOWN],
        "layer": [
            {
                "transform": [{"filter": "datum.front"}],
                "mark": {
                    "type": "line",
                    "stroke": "var(--soft)",
                    "strokeWidth": 1,
                    "interpolate": "step-after",
                },
                "encoding": place,
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {
                    **place,
                    "color": scale["color"],
                    "shape": scale["shape"],
                    "tooltip": COST_TIP,
                },
            },
        ],
    }
