"""Heat map of tensor sparsities: one row per tensor, one column per method; dead tensors are marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from smc_eval.reporting.html.figure import Figure, VegaSpec, column_menu, methods_axis, methods_margin
from smc_eval.reporting.html.packed_rows import Matrix
from smc_eval.reporting.series import Panel, PlotPoint
from smc_eval.store.record import Record

LABEL = "length(datum.label) > 34 ? '…' + slice(replace(datum.label, '.weight', ''), -33) : datum.label"
"""Long names keep their end, which describes the tensor."""

TENSOR_TIP = (
    {"field": "label", "title": "method"},
    {"field": "tensor", "title": "tensor"},
    {"field": "share", "title": "sparsity", "format": ".1%"},
)

TensorNumbers = Callable[[Record], Mapping[str, float | None]]
"""A number for each tensor of a record's net; empty if the record has none."""


def tensor_sparsities(record: Record) -> Mapping[str, float | None]:
    """The sparsity of each tensor in scope."""
    return record.certificate.tensors if record.certificate else {}


def layer_figure(panel: Panel, name: str) -> tuple[Figure, Matrix] | None:
    """The figure and its numbers; None if no record has sparsities of tensors."""
    drawn = [(series, point) for series, point in panel.points if common_tensors(point, tensor_sparsities)]
    if not drawn:
        return None
    names = tuple(dict.fromkeys(n for _, point in drawn for n in common_tensors(point, tensor_sparsities)))
    matrix = Matrix(
        names,
        "share",
        tuple(
            (
                series.label,
                point.column,
                point.depth if point.free else 0.0,
                tensor_means(point, names, tensor_sparsities),
            )
            for series, point in drawn
        ),
    )
    columns = [column for column in panel.columns if any(point.column == column for _, point in drawn)]
    dead = sum(value == 1 for *_, values in matrix.points for value in values)
    labels = list(dict.fromkeys(series.label for series, _ in drawn))
    figure = Figure(
        f"layers-{name}",
        panel.title,
        f"Sparsity of each of {len(names)} tensors, by method, for {panel.title}. "
        f"{dead:,} tensors of {len(drawn):,} table cells are dead.",
        _spec(names, labels),
        f"layers-{name}",
        f"{dead:,} of {len(names) * len(drawn):,} tensors in {len(drawn):,} table cells are dead (×).",
        (column_menu(columns),),
        TENSOR_TIP,
        methods_margin(labels),
    )
    return figure, matrix


def common_tensors(point: PlotPoint, numbers_of: TensorNumbers) -> list[str]:
    """The tensors that all records of a point have."""
    first, *others = (numbers_of(record) for record in point.records)
    return [name for name in first if all(name in other for other in others)]


def tensor_means(
    point: PlotPoint, names: Sequence[str], numbers_of: TensorNumbers
) -> tuple[float | None, ...]:
    """The mean of each tensor over the records of a point; None if a record lacks it."""
    numbers = [numbers_of(record) for record in point.records]
    return tuple(_mean([by_name.get(name) for by_name in numbers]) for name in names)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _spec(names: Sequence[str], labels: Sequence[str]) -> VegaSpec:
    step = 15 if len(names) <= 40 else 11
    encoding: VegaSpec = {
        "x": {
            "field": "label",
            "type": "nominal",
            "sort": None,
            "title": None,
            "axis": methods_axis(labels),
        },
        "y": {
            "field": "tensor",
            "type": "nominal",
            "sort": list(names),
            "title": None,
            "axis": {"labelFontSize": 10 if step > 12 else 8, "labelLimit": 190, "ticks": False}
            | {"labelExpr": LABEL},
        },
    }
    color = {
        "field": "share",
        "type": "quantitative",
        "title": "sparsity",
        "scale": {"domain": [0, 1], "scheme": "cividis", "reverse": True},
        "legend": {
            "orient": "bottom",
            "gradientLength": 160,
            "titleAnchor": "start",
            "format": ".0%",
            "direction": "horizontal",
        },
    }
    return {
        "height": step * len(names),
        "transform": [{"filter": "datum.column == at"}],
        "layer": [
            {
                "mark": {"type": "rect", "stroke": "var(--sheet)", "strokeWidth": 0.6},
                "encoding": {**encoding, "color": color, "tooltip": TENSOR_TIP},
            },
            {
                "transform": [{"filter": "datum.share == 1"}],
                "mark": {"type": "text", "text": "×", "color": "#ffffff", "fontWeight": "bold"},
                "encoding": {**encoding, "tooltip": TENSOR_TIP},
            },
        ],
    }
