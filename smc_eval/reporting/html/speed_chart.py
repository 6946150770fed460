"""Measured speed against sparsity: the fastest kernel of each net, beside dense products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

from smc_eval.reporting.html.figure import HIDDEN_METHODS, ONLY_SHOWN, Figure, VegaSpec, depth_axis
from smc_eval.reporting.html.packed_rows import Rows
from smc_eval.reporting.html.pattern_points import (
    IS_PATTERN,
    PatternShares,
    note_of,
    pattern_shares,
    point_layers,
    share_layers,
)
from smc_eval.reporting.html.style import Style, scales
from smc_eval.reporting.series import Panel
from smc_eval.store.speeds import FindSpeeds, KernelSpeed

SPEED_TIP = (
    {"field": "label", "title": "method"},
    {"field": "column", "title": "sparsity"},
    {"field": "times", "title": "speed"},
    {"field": "kernel", "title": "kernel"},
)


def speed_figure(
    panel: Panel, name: str, styles: Sequence[Style], find_speeds: FindSpeeds
) -> tuple[Figure, Rows] | None:
    """The figure and its rows; None if the speed of no net was measured."""
    rows = list(_rows(panel, find_speeds))
    if not rows:
        return None
    fastest = max(rows, key=lambda row: row["speed"])
    drawn = {(row["label"], row["column"]) for row in rows}
    shares = pattern_shares(point for series, point in panel.points if (series.label, point.column) in drawn)
    figure = Figure(
        f"speed-{name}",
        panel.title,
        f"Measured speed of predictions relative to dense products against sparsity, for {panel.title}. The "
        f"fastest: {fastest['label']} at {fastest['column']}, {fastest['times']}.",
        _spec({row["depth"] for row in rows}, styles, shares),
        f"speed-{name}",
        "Each point is a mean over nets, each with its fastest kernel. Below 1, predictions are slower than "
        f"with dense products.{note_of(shares)}",
        numbers=SPEED_TIP,
    )
    return figure, Rows(tuple(rows))


def _rows(panel: Panel, find_speeds: FindSpeeds) -> Iterator[dict[str, Any]]:
    """One row for each method and target."""
    for series, point in panel.points:
        best: list[KernelSpeed] = [
            kernel
            for record in point.records
            if (speeds := find_speeds(record.digest)) and (kernel := speeds.best)
        ]
        if best and point.placed:
            speed = mean(kernel.speed for kernel in best)
            yield {
                "label": series.label,
                "column": point.column,
                "depth": point.depth,
                "speed": speed,
                "times": f"{speed:.2f} × dense",
                "kernel": ", ".join(dict.fromkeys(kernel.kernel for kernel in best)),
            }


def _spec(depths: set[float], styles: Sequence[Style], shares: PatternShares) -> VegaSpec:
    scale = scales(styles)
    place = {
        "x": depth_axis(depths, first=min(depths)),
        "y": {"field": "speed", "type": "quantitative", "title": "× dense speed", "scale": {"zero": False}},
    }
    on_line = {"filter": f"!({IS_PATTERN})"}
    hollow = {**place, "shape": scale["shape"], "tooltip": SPEED_TIP}
    return {
        "height": 260,
        "params": [HIDDEN_METHODS],
        "layer": [
            {"mark": {"type": "rule", "stroke": "var(--soft)"}, "encoding": {"y": {"datum": 1}}},
            {
                "transform": [on_line, ONLY_SHOWN],
                "mark": {"type": "line", "point": False},
                "encoding": {**place, "color": scale["color"]},
            },
            {
                "transform": [on_line, ONLY_SHOWN],
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {**place, "color": scale["color"], "shape": scale["shape"], "tooltip": SPEED_TIP},
            },
            *share_layers(place, shares),
            *point_layers(hollow, shares, [ONLY_SHOWN], scale["color"]),
        ],
    }
