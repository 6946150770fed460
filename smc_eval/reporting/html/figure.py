"""A Figure: a Vega-Lite spec, its controls, the name of its data, and a description in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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

CHART_MARGIN = 56
"""Height of the horizontal axis of a chart, with its labels and title, in pixels."""


@dataclass(frozen=True)
class Control:
    """A menu, or a switch if it has no options: with it, the reader sets a parameter of the spec."""

    name: str
    """The parameter's."""
    label: str
    value: str | bool
    """The first one."""
    options: tuple[str, ...] = ()
    field: str = ""
    """The field of the data that has the options; the numbers of other options are not shown."""


@dataclass(frozen=True)
class Figure:
    """One figure of the page; `spec` has neither data nor width nor the parameters of controls."""

    name: str
    """The name of its files: `curves-mawps-gts-scratch`."""
    title: str
    alt: str
    """A description for screen readers."""
    spec: VegaSpec
    data: str
    note: str = ""
    controls: tuple[Control, ...] = ()
    numbers: Sequence[Mapping[str, str]] = ()
    """Fields of the data, their titles and formats: the columns of the figure's table of numbers."""
    margin: int = CHART_MARGIN
    """Height of axes and legends, in pixels."""

    @property
    def height(self) -> int:
        """Height of the whole picture on the page, in pixels, which the page reserves before it draws."""
        height: int = self.spec["height"] + self.margin
        return height

    @property
    def page_spec(self) -> VegaSpec:
        """The spec for the page: as wide as its container, without the legend, which all figures share."""
        return {
            "$schema": VEGA_SCHEMA,
            "autosize": {"type": "fit", "contains": "padding"},
            "config": CONFIG,
            "data": {"name": self.data},
            **_legends(self._whole_spec, None),
            "width": "container",
            "height": self.height,
        }

    def file_spec(self, data: FigureData) -> VegaSpec:
        """The spec for a file: with its data, a legend and the light theme."""
        whole = {
            "$schema": VEGA_SCHEMA,
            "width": 380,
            "title": {"text": self.title, "anchor": "start", "fontSize": 12, "color": "var(--ink)"},
            "config": {**CONFIG, "background": "white"},
            "data": {"name": self.data},
            **_legends(self._whole_spec, {"title": None, "symbolLimit": 0, "labelLimit": 220}),
        }
        spec: VegaSpec = with_light_colours(whole)
        return {**spec, "datasets": {self.data: data[self.data].plain()}}

    @property
    def _whole_spec(self) -> VegaSpec:
        params = [{"name": control.name, "value": control.value} for control in self.controls]
        return {**self.spec, "params": [*self.spec.get("params", []), *params]}


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
            "labelSeparation": 5,
            "grid": False,
        },
    }


MOST_FLAT_LABELS = 4
"""The labels of more methods than these are vertical."""

MOST_LARGE_LABELS = 10
"""The labels of more methods than these are small, and the fields of a matrix have no numbers."""


def methods_axis(labels: Sequence[str]) -> VegaSpec:
    """The axis of methods."""
    flat = len(labels) <= MOST_FLAT_LABELS
    size = {} if len(labels) <= MOST_LARGE_LABELS else {"labelFontSize": 8}
    return {"orient": "top", "labelAngle": 0 if flat else -90, "labelLimit": 110 if flat else 150, **size}


def methods_margin(labels: Sequence[str]) -> int:
    """Height of the axis of methods, and of the legend below, in pixels."""
    longest = min(150, 7 * max(map(len, labels), default=0))
    return 75 + (20 if len(labels) <= MOST_FLAT_LABELS else longest)


HIDDEN_METHODS: VegaSpec = {"name": "hidden", "value": []}
"""The methods that the reader has hidden."""

ONLY_SHOWN: VegaSpec = {"filter": "indexof(hidden, datum.label) < 0"}
"""Leaves out hidden methods."""


def column_menu(columns: Sequence[str]) -> Control:
    """Selects a column of the table."""
    return Control("at", "sparsity", default_column(columns), tuple(columns), "column")


def default_column(columns: Sequence[str]) -> str:
    """The column that is shown first: the sparsity nearest to 0.672, in the middle of the paper's ten."""
    return min(columns, key=lambda column: abs(_number(column) - 0.672))


def _number(column: str) -> float:
    return math.inf if ":" in column else float(column)
