"""Cost: score against what a net took to get, and who is beaten by nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from smc_eval.reporting.cost import CostMeasure, flops_cost, pareto_front, prediction_flops, steps_cost
from smc_eval.reporting.html.figure import HIDDEN_METHODS, ONLY_SHOWN, Figure, VegaSpec, choice, middle
from smc_eval.reporting.html.packed_rows import Rows
from smc_eval.reporting.html.style import Style, scales
from smc_eval.reporting.series import Panel

MEASURES: dict[str, CostMeasure] = {
    "training steps": steps_cost,
    "training operations, dense": flops_cost("dense"),
    "training operations, sparse": flops_cost("sparse"),
    "operations to predict": prediction_flops,
}


def cost_figure(panel: Panel, name: str, chosen: Sequence[Style]) -> tuple[Figure, Rows] | None:
    """The figure and its rows; None where no record tells what it cost."""
    rows = [row for column in panel.columns for row in _at(panel, column)]
    if not rows:
        return None
    columns = list(dict.fromkeys(row["column"] for row in rows))
    measures = [measure for measure in MEASURES if any(row["measure"] == measure for row in rows)]
    first = "training steps" if "training steps" in measures else measures[0]
    front = [
        f"{row['label']} ({row['told']} at {row['times']})"
        for row in rows
        if row["front"] and row["column"] == middle(columns) and row["measure"] == first
    ]
    figure = Figure(
        f"cost-{name}",
        panel.title,
        f"{panel.metric} against {first}, in units of the dense net's, for {panel.title}. "
        f"At {middle(columns)} nobody beats {', '.join(front)}.",
        _spec(panel.metric, columns, measures, first, chosen),
        f"cost-{name}",
    )
    return figure, Rows(tuple(rows))


def _at(panel: Panel, column: str) -> Iterator[dict[str, Any]]:
    """Every method at one sparsity by every measure, and whether it lies on the front."""
    for measure, number in MEASURES.items():
        found: list[dict[str, Any]] = [
            {
                "column": column,
                "measure": measure,
                "label": line.label,
                "cost": cost,
                "times": f"{cost:.3g} × dense",
                "value": square.cell_value.value,
                "told": f"{square.cell_value.value:.{panel.decimals}f}",
            }
            for line in panel.lines
            for square in line.squares
            if square.column == column
            and square.cell_value.state == "ok"
            and (cost := line.times(square, number))
        ]
        sign = 1 if panel.higher else -1
        ahead = pareto_front([(sign * row["value"], row["cost"]) for row in found])
        yield from ({**row, "front": first} for row, first in zip(found, ahead, strict=True))


def _spec(
    metric: str, columns: list[str], measures: list[str], first: str, chosen: Sequence[Style]
) -> VegaSpec:
    scale = scales(chosen)
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
    tip = [
        {"field": "label", "title": "method"},
        {"field": "column", "title": "sparsity"},
        {"field": "told", "title": "score"},
        {"field": "times", "title": "cost"},
    ]
    return {
        "height": 260,
        "params": [
            HIDDEN_METHODS,
            choice("at", columns, middle(columns), "sparsity"),
            choice("by", measures, first, "cost as"),
        ],
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
                    "tooltip": tip,
                },
            },
        ],
    }
