"""A Figure: a Vega-Lite spec, the data it names, and what it shows in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smc_eval.reporting.html.packed_rows import Matrix, Rows
from smc_eval.reporting.html.style import painted

VegaSpec = dict[str, Any]
"""A figure as Vega-Lite writes it."""

FigureData = Mapping[str, Rows | Matrix]
"""What figures draw, by name; several may draw the same."""

VEGA_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""Names the language of a spec; nothing is loaded from there."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', sans-serif"

CONFIG: VegaSpec = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "domainColor": "var(--soft)",
        "tickColor": "var(--rule)",
        "gridColor": "var(--rule)",
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 8,
    },
    "legend": {"labelColor": "var(--ink)", "titleColor": "var(--soft)", "symbolSize": 60, "symbolOpacity": 1},
    "line": {"strokeWidth": 1.8},
}

STEPS = range(1, 11)
"""The paper's ten sparsities, in steps that leave 0.8 each."""

TICK_GAP = 0.35
"""Marks of the axis that are nearer than this to one of the paper's would be written over it."""


@dataclass(frozen=True)
class Figure:
    """One picture of the page; `spec` holds neither data nor width."""

    name: str
    """Of its files: `curves-mawps-gts-scratch`."""
    title: str
    alt: str
    """What it shows, for those who do not see it."""
    spec: VegaSpec
    data: str
    note: str = ""

    @property
    def drawn(self) -> VegaSpec:
        """The spec as the page draws it: as wide as there is room, methods told in one legend for all."""
        return {
            "$schema": VEGA_SCHEMA,
            "width": "container",
            "autosize": {"type": "fit-x", "contains": "padding"},
            "config": CONFIG,
            "data": {"name": self.data},
            **_legends(self.spec, None),
        }

    def alone(self, data: FigureData) -> VegaSpec:
        """The spec with its data, a legend and the colours of day, as a file of its own."""
        whole = {
            "$schema": VEGA_SCHEMA,
            "width": 380,
            "title": {"text": self.title, "anchor": "start", "fontSize": 12, "color": "var(--ink)"},
            "config": {**CONFIG, "background": "white"},
            "data": {"name": self.data},
            **_legends(self.spec, {"title": None, "symbolLimit": 0, "labelLimit": 220}),
        }
        made: VegaSpec = painted(whole)
        return {**made, "datasets": {self.data: data[self.data].plain()}}


def _legends(value: Any, legend: VegaSpec | None) -> Any:
    """A spec with the legend of methods put in, or left out; other legends stay."""
    if isinstance(value, dict):
        return {
            key: legend if key == "legend" and part == "methods" else _legends(part, legend)
            for key, part in value.items()
        }
    return [_legends(part, legend) for part in value] if isinstance(value, list) else value


def depth_axis(depths: set[float], *, first: float = 0.8) -> VegaSpec:
    """The x axis: the paper's steps evenly, named by their sparsities, and whatever else was measured."""
    deepest = max([*depths, 2.0])
    marks = [float(step) for step in STEPS if step <= deepest + 0.5]
    marks += [round(d, 4) for d in depths if d > 0 and all(abs(d - step) > TICK_GAP for step in STEPS)]
    return {
        "field": "depth",
        "type": "quantitative",
        "title": "sparsity",
        "scale": {"domain": [min([first, *depths]), deepest + 0.2], "nice": False, "zero": False},
        "axis": {
            "values": sorted(marks),
            "labelExpr": "replace(format(1 - pow(0.8, datum.value), '.3~f'), '0.', '.')",
            "labelOverlap": "greedy",
            "grid": False,
        },
    }


def methods_axis(count: int) -> VegaSpec:
    """The heads of columns that are methods: upright where there is no room to lie."""
    few = count <= 4
    return {"orient": "top", "labelAngle": 0 if few else -90, "labelLimit": 110 if few else 150}


ONLY_SHOWN: VegaSpec = {"filter": "indexof(off, datum.label) < 0"}
"""Leaves out what the reader has switched off."""

HIDDEN_METHODS: VegaSpec = {"name": "off", "value": []}
"""The methods that a reader has switched off."""


def choice(name: str, words: list[str], value: str, title: str) -> VegaSpec:
    """A parameter that a reader chooses from a list."""
    return {"name": name, "value": value, "bind": {"input": "select", "options": words, "name": f"{title} "}}


def middle(columns: list[str]) -> str:
    """The column to begin with: the sparsity nearest to 0.672, the middle of the paper's ten."""
    return min(columns, key=lambda column: abs(_number(column) - 0.672))


def _number(column: str) -> float:
    return math.inf if ":" in column else float(column)
