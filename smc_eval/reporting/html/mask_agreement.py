"""Agreement of the masks of two methods, or of two seeds of one method."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from smc_eval.reporting.html.figure import (
    MOST_LARGE_LABELS,
    Figure,
    VegaSpec,
    column_menu,
    default_column,
    methods_axis,
    methods_margin,
)
from smc_eval.reporting.html.packed_rows import Rows
from smc_eval.reporting.series import Panel, PlotPoint
from smc_eval.store.mask_samples import FindSamples, MaskSample, iou

MOST_PAIRS = 3
"""Pairs of nets that are compared for one number; more seeds add little and take time."""

AGREEMENT_TIP = (
    {"field": "a", "title": "method"},
    {"field": "b", "title": "other method"},
    {"field": "iou", "title": "agreement", "format": ".3f"},
    {"field": "error", "title": "precision"},
    {"field": "chance", "title": "random masks", "format": ".3f"},
)


def agreement_figure(panel: Panel, name: str, find_samples: FindSamples) -> tuple[Figure, Rows] | None:
    """The figure and its rows; None if no two masks can be compared."""
    rows = [row for column in panel.columns for row in _at(panel, column, find_samples)]
    if not rows:
        return None
    columns = list(dict.fromkeys(row["column"] for row in rows))
    labels = list(dict.fromkeys(row["a"] for row in rows))
    figure = Figure(
        f"agreement-{name}",
        panel.title,
        f"Agreement of masks (intersection over union of the unpruned weights) for {panel.title}. "
        + _extremes(rows, default_column(columns)),
        _spec(labels),
        f"agreement-{name}",
        "The diagonal compares two seeds of one method. Other fields compare two methods with the same seed. "
        "Two random masks of density d have an agreement of d / (2 − d).",
        (column_menu(columns),),
        AGREEMENT_TIP,
        methods_margin(labels),
    )
    return figure, Rows(tuple(rows))


Pair = tuple[Mapping[str, MaskSample], Mapping[str, MaskSample]]


def _at(panel: Panel, column: str, find_samples: FindSamples) -> Iterator[dict[str, Any]]:
    """Every pair of methods at one sparsity, in both orders, and each method with itself."""
    points = {series.label: point for series, point in panel.points if point.column == column}
    samples = {label: _samples(point, find_samples) for label, point in points.items()}
    for label, nets in samples.items():
        if agreement := _agreement(points[label], list(combinations(nets.values(), 2))):
            yield {"column": column, "a": label, "b": label, **agreement}
    for (a, nets_a), (b, nets_b) in combinations(samples.items(), 2):
        pairs = [(nets_a[key], nets_b[key]) for key in nets_a if key in nets_b]
        if agreement := _agreement(points[a], pairs):
            yield {"column": column, "a": a, "b": b, **agreement}
            yield {"column": column, "a": b, "b": a, **agreement}


def _samples(
    point: PlotPoint, find_samples: FindSamples
) -> dict[tuple[int, int | None], Mapping[str, MaskSample]]:
    """The mask samples of a point's first few nets, by seed and fold."""
    samples: dict[tuple[int, int | None], Mapping[str, MaskSample]] = {}
    for record in point.records:
        sample = find_samples(record.digest) if len(samples) < MOST_PAIRS else None
        if sample:
            samples[record.seed, record.fold] = sample
    return samples


def _agreement(point: PlotPoint, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Mean agreement of pairs of nets; empty if none can be compared."""
    estimates = [iou(first, second) for first, second in pairs[:MOST_PAIRS]]
    estimates = [(value, error) for value, error in estimates if math.isfinite(value)]
    if not estimates:
        return {}
    count = len(estimates)
    error = math.sqrt(sum(error**2 for _, error in estimates)) / count
    density = 1 - point.sparsity
    return {
        "iou": sum(value for value, _ in estimates) / count,
        "chance": density / (2 - density),
        "error": f"± {error:.3f} sampling error, {count} pair{'s' if count > 1 else ''} of nets",
    }


def _extremes(rows: list[dict[str, Any]], column: str) -> str:
    """The pairs of methods that agree most and least, in words."""
    pairs = [row for row in rows if row["column"] == column and row["a"] < row["b"]]
    if not pairs:
        return ""
    most, least = max(pairs, key=lambda row: row["iou"]), min(pairs, key=lambda row: row["iou"])
    return (
        f"At sparsity {column}, {most['a']} and {most['b']} agree most ({most['iou']:.2f}), "
        f"{least['a']} and {least['b']} least ({least['iou']:.2f})."
    )


def _spec(labels: Sequence[str]) -> VegaSpec:
    axis = {"type": "nominal", "sort": None, "title": None}
    place = {
        "x": {**axis, "field": "a", "axis": methods_axis(labels)},
        "y": {**axis, "field": "b", "axis": {"labelLimit": 150, "ticks": False}},
    }
    color = {
        "field": "iou",
        "type": "quantitative",
        "title": "agreement",
        "scale": {"domain": [0, 1], "scheme": "cividis"},
        "legend": {"orient": "bottom", "gradientLength": 160, "direction": "horizontal"},
    }
    fields: VegaSpec = {
        "mark": {"type": "rect", "stroke": "var(--sheet)"},
        "encoding": {**place, "color": color, "tooltip": AGREEMENT_TIP},
    }
    contrast = {"condition": {"test": "datum.iou > 0.55", "value": "#111111"}, "value": "#fff"}
    numbers = {
        "mark": {"type": "text", "fontSize": 10},
        "encoding": {
            **place,
            "text": {"field": "iou", "format": ".2f"},
            "color": contrast,
            "tooltip": AGREEMENT_TIP,
        },
    }
    return {
        "height": 24 * len(labels),
        "transform": [{"filter": "datum.column == at"}],
        "layer": [fields, numbers] if len(labels) <= MOST_LARGE_LABELS else [fields],
    }
