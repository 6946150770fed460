"""Points of N:M patterns, heads and neurons: hollow, on no line, at the share of weights that they prune."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from smc_eval.reporting.html.figure import VegaSpec
from smc_eval.reporting.series import PlotPoint

HOLLOW_NOTE = (
    "Large hollow points are N:M patterns and pruned heads or neurons. Each stands at the share of weights "
    "in scope that it prunes, and no line joins them."
)

IS_PATTERN = "isString(datum.column) && indexof(datum.column, ':') >= 0"
"""The test of Vega that leaves the rows of patterns."""

PatternShares = Mapping[float, Sequence[str]]
"""The patterns that prune a share, by its place on the axis."""


def pattern_shares(points: Iterable[PlotPoint]) -> PatternShares:
    """The patterns of points; empty if none of them is a pattern."""
    shares: dict[float, list[str]] = {}
    for point in points:
        if point.placed and not point.free:
            columns = shares.setdefault(round(point.depth, 2), [])
            columns += [] if point.column in columns else [point.column]
    return shares


def note_of(shares: PatternShares) -> str:
    """A sentence for the note of a figure; empty without patterns."""
    return f" {HOLLOW_NOTE}" if shares else ""


def share_layers(place: VegaSpec, shares: PatternShares) -> list[VegaSpec]:
    """A vertical rule at each share, with the names of its patterns."""
    rows = [{"depth": depth, "names": ", ".join(columns)} for depth, columns in shares.items()]
    if not rows:
        return []
    soft = {"color": "var(--soft)", "fontSize": 10}
    text = {"type": "text", "align": "left", "baseline": "bottom", "dx": 4, "dy": -3, **soft}
    rule = {"type": "rule", "stroke": "var(--soft)", "strokeDash": [1, 4]}
    named = {"x": place["x"], "y": {"value": "height"}, "text": {"field": "names"}}
    return [
        {"data": {"values": rows}, "mark": rule, "encoding": {"x": place["x"]}},
        {"data": {"values": rows}, "mark": text, "encoding": named},
    ]


def point_layers(
    encoding: VegaSpec, shares: PatternShares, tests: Sequence[VegaSpec], outline: VegaSpec
) -> list[VegaSpec]:
    """The points; without patterns, there is no layer.

    Args:
        encoding: place and tooltip, and the shape if it says something.
        shares: the patterns of the figure.
        tests: the filters that leave the rows of one point each.
        outline: the encoding of the outline's colour.
    """
    mark = {"type": "point", "size": 70, "fill": "var(--sheet)", "strokeWidth": 2, "opacity": 1}
    layer = {
        "transform": [{"filter": IS_PATTERN}, *tests],
        "mark": mark,
        "encoding": {**encoding, "stroke": outline},
    }
    return [layer] if shares else []
