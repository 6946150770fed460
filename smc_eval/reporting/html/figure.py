"""A Figure: a Vega-Lite spec, the name of its data, and a description in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smc_eval.reporting.html.packed_rows import Matrix, Rows
from smc_eval.reporting.html.style import with_light_colours

VegaSpec = dict[str, Any]
"""A figure in Vega-Lite's format."""

FigureData = Mapping[str, Rows | Matrix]
"""The data of figures by name; several figures may share one."""

VEGA_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""Names the format of a spec; nothing is loaded from this address."""

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
"""The paper's ten sparsities, in steps that keep 0.8 of the weights each."""

AXIS_MARGIN = 0.2
"""Room before and after the data of an axis of sparsities, in steps of the paper."""

TICK_GAP = 0.35
"""Tick labels that are nearer than this to one of the paper's would overlap it."""


@dataclass(frozen=True)
class Figure:
    """One figure of the page; `spec` has neither data nor width."""

    name: str
    """The name of its files: `curves-mawps-gts-scratch`."""
    title: str
    alt: str
    """A description for screen readers."""
    spec: VegaSpec
    data: str
    note: str = ""

    @property
    def page_spec(self) -> VegaSpec:
        """The spec for the page: as wide as its container, without the legend, which all figures share."""
        return {
            "$schema": VEGA_SCHEMA,
            "width": "container",
            "autosize": {"type": "fit-x", "contains": "padding"},
            "config": CONFIG,
            "data": {"name": self.data},
            **_legends(self.spec, None),
        }

    def file_spec(self, data: FigureData) -> VegaSpec:
        """The spec for a file: with its data, a legend and the light theme."""
        whole = {
            "$schema": VEGA_SCHEMA,
            "width": 380,
            "title": {"text": self.title, "anchor": "start", "fontSize": 12, "color": "var(--ink)"},
            "config": {**CONFIG, "background": "white"},
            "data": {"name": self.data},
            **_legends(self.spec, {"title": None, "symbolLimit": 0, "labelLimit": 220}),
        }
        spec: VegaSpec = with_light_colours(whole)
        return {**spec, "datasets": {self.data: data[self.data].plain()}}


def _legends(value: Any, legend: VegaSpec | None) -> Any:
    """A spec with this legend of methods, or None for no legend; other legends stay."""
    if isinstance(value, dict):
        return {
            key: legend if key == "legend" and part == "methods" else _legends(part, legend)
            for key, part in value.items()
        }
    return [_legends(part, legend) for part in value] if isinstance(value, list) else value


def depth_axis(depths: set[float], *, first: float | None = None) -> VegaSpec:
    """The x axis: the paper's steps at even distances, labelled by sparsity, and other measured values.

    It begins at `first` or, without it, just before the data. It is at least a step wide.
    """
    deepest = max(depths, default=2.0)
    begin = min(depths, default=1.0) - AXIS_MARGIN if first is None else min([first, *depths])
    end = max(deepest + AXIS_MARGIN, begin + 1 + AXIS_MARGIN)
    ticks = [float(step) for step in STEPS if begin <= step <= min(end, deepest + 0.5)]
    ticks += [round(d, 4) for d in depths if d > 0 and all(abs(d - step) > TICK_GAP for step in ticks)]
    return {
        "field": "depth",
        "type": "quantitative",
        "title": "sparsity",
        "scale": {"domain": [begin, end], "nice": False, "zero": False},
        "axis": {
            "values": sorted(ticks),
            "labelExpr": "replace(format(1 - pow(0.8, datum.value), '.3~f'), '0.', '.')",
            "labelOverlap": "greedy",
            "grid": False,
        },
    }


def methods_axis(count: int) -> VegaSpec:
    """The axis of methods: its labels are vertical if there are more than four."""
    few = count <= 4
    return {"orient": "top", "labelAngle": 0 if few else -90, "labelLimit": 110 if few else 150}


HIDDEN_METHODS: VegaSpec = {"name": "hidden", "value": []}
"""The methods that the reader has hidden."""

ONLY_SHOWN: VegaSpec = {"filter": "indexof(hidden, datum.label) < 0"}
"""Leaves out hidden methods."""


def menu(name: str, options: list[str], value: str, title: str) -> VegaSpec:
    """A parameter that the reader selects from a list."""
    select = {"input": "select", "options": options, "name": f"{title} "}
    return {"name": name, "value": value, "bind": select}


def default_column(columns: list[str]) -> str:
    """The column that is shown first: the sparsity nearest to 0.672, in the middle of the paper's ten."""
    return min(columns, key=lambda column: abs(_number(column) - 0.672))


def _number(column: str) -> float:
    return math.inf if ":" in column else float(column)
