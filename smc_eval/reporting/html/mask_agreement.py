"""Alike: how far the masks of two methods, or of two seeds of one, agree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from smc_eval.reporting.html.figure import Figure, VegaSpec, choice, methods_axis, middle
from smc_eval.reporting.html.packed_rows import Rows
from smc_eval.reporting.series import Panel, PlotPoint
from smc_eval.store.mask_samples import FindSamples, MaskSample, iou

MOST_PAIRS = 3
"""Pairs of nets that are compared for one number: seeds are alike in kind, and sketches cost time."""


def agreement_figure(panel: Panel, name: str, find_samples: FindSamples) -> tuple[Figure, Rows] | None:
    """The figure and its rows; None where no two masks can be compared."""
    rows = [row for column in panel.columns for row in _at(panel, column, find_samples)]
    if not rows:
        return None
    columns = list(dict.fromkeys(row["column"] for row in rows))
    figure = Figure(
        f"agreement-{name}",
        panel.title,
        f"Agreement of masks, weights that both keep over weights that either keeps, for {panel.title}. "
        + _extremes(rows, middle(columns)),
        _spec(columns, len({row["a"] for row in rows})),
        f"agreement-{name}",
        "On the diagonal: two seeds of one method. Elsewhere: two methods from one seed. "
        "Of two random masks that keep a share d, d / (2 − d) would agree.",
    )
    return figure, Rows(tuple(rows))


Pair = tuple[Mapping[str, MaskSample], Mapping[str, MaskSample]]


def _at(panel: Panel, column: str, find_samples: FindSamples) -> Iterator[dict[str, Any]]:
    """Every pair of methods at one sparsity, both ways round, and each method with itself."""
    squares = {line.label: square for line, square in panel.squares if square.column == column}
    found = {label: _sketches(square, find_samples) for label, square in squares.items()}
    for label, nets in found.items():
        if told := _agreement(squares[label], list(combinations(nets.values(), 2))):
            yield {"column": column, "a": label, "b": label, **told}
    for (a, ours), (b, theirs) in combinations(found.items(), 2):
        pairs = [(ours[place], theirs[place]) for place in ours if place in theirs]
        if told := _agreement(squares[a], pairs):
            yield {"column": column, "a": a, "b": b, **told}
            yield {"column": column, "a": b, "b": a, **told}


def _sketches(
    square: PlotPoint, find_samples: FindSamples
) -> dict[tuple[int, int | None], Mapping[str, MaskSample]]:
    """The sketches of a square's nets by seed and fold; a few will do."""
    found: dict[tuple[int, int | None], Mapping[str, MaskSample]] = {}
    for record in square.records:
        masks = find_samples(record.digest) if len(found) < MOST_PAIRS else None
        if masks:
            found[record.seed, record.fold] = masks
    return found


def _agreement(square: PlotPoint, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Mean agreement of pairs of nets; nothing where none can be compared."""
    told = [iou(one, other) for one, other in pairs[:MOST_PAIRS]]
    told = [(value, error) for value, error in told if math.isfinite(value)]
    if not told:
        return {}
    error = math.sqrt(sum(error**2 for _, error in told)) / len(told)
    density = 1 - square.sparsity
    return {
        "iou": sum(value for value, _ in told) / len(told),
        "chance": density / (2 - density),
        "sure": f"± {error:.3f} of sampling, {len(told)} pair{'s' if len(told) > 1 else ''} of nets",
    }


def _extremes(rows: list[dict[str, Any]], column: str) -> str:
    """The two methods that agree most and least, in words."""
    between = [row for row in rows if row["column"] == column and row["a"] < row["b"]]
    if not between:
        return ""
    most, least = max(between, key=lambda r: r["iou"]), min(between, key=lambda r: r["iou"])
    return (
        f"At {column}, {most['a']} and {most['b']} agree most ({most['iou']:.2f}), "
        f"{least['a']} and {least['b']} least ({least['iou']:.2f})."
    )


def _spec(columns: list[str], most: int) -> VegaSpec:
    axis = {"type": "nominal", "sort": None, "title": None}
    place = {
        "x": {**axis, "field": "a", "axis": methods_axis(most)},
        "y": {**axis, "field": "b", "axis": {"labelLimit": 150, "ticks": False}},
    }
    tip = [
        {"field": "a", "title": "one"},
        {"field": "b", "title": "other"},
        {"field": "iou", "title": "agreement", "format": ".3f"},
        {"field": "sure", "title": "sure to"},
        {"field": "chance", "title": "by chance", "format": ".3f"},
    ]
    color = {
        "field": "iou",
        "type": "quantitative",
        "title": "agreement",
        "scale": {"domain": [0, 1], "scheme": "cividis"},
        "legend": {"orient": "bottom", "gradientLength": 160, "direction": "horizontal"},
    }
    return {
        "height": 24 * most,
        "params": [choice("at", columns, middle(columns), "sparsity")],
        "transform": [{"filter": "datum.column == at"}],
        "layer": [
            {
                "mark": {"type": "rect", "stroke": "var(--sheet)"},
                "encoding": {**place, "color": color, "tooltip": tip},
            },
            {
                "mark": {"type": "text", "fontSize": 10},
                "encoding": {
                    **place,
                    "text": {"field": "iou", "format": ".2f"},
                    "color": {"condition": {"test": "datum.iou > 0.55", "value": "#111111"}, "value": "#fff"},
                    "tooltip": tip,
                },
            },
        ],
    }
