"""Heat: how sparse each tensor came out, a row a tensor, a column a method; what is dead is marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from smc_eval.reporting.html.figure import Figure, VegaSpec, choice, methods_axis, middle
from smc_eval.reporting.html.packed_rows import Matrix
from smc_eval.reporting.series import Panel, PlotPoint
from smc_eval.store.record import Record

LABEL = "length(datum.label) > 34 ? '…' + slice(replace(datum.label, '.weight', ''), -33) : datum.label"
"""What a tensor is lies at the end of its name."""


TensorNumbers = Callable[[Record], Mapping[str, float | None]]
"""A number for each tensor of a record's net; empty where the record has none."""


def tensor_sparsities(record: Record) -> Mapping[str, float | None]:
    """The sparsity of each tensor in scope."""
    return record.certificate.tensors if record.certificate else {}


def layer_figure(panel: Panel, name: str) -> tuple[Figure, Matrix] | None:
    """The figure and its numbers; None where no record tells of tensors."""
    told = [(line, square) for line, square in panel.squares if tensors(square, tensor_sparsities)]
    if not told:
        return None
    names = tuple(dict.fromkeys(n for _, square in told for n in tensors(square, tensor_sparsities)))
    matrix = Matrix(
        names,
        "share",
        tuple(
            (
                line.label,
                square.column,
                square.depth if square.free else 0.0,
                means(square, names, tensor_sparsities),
            )
            for line, square in told
        ),
    )
    columns = [column for column in panel.columns if any(s.column == column for _, s in told)]
    dead = sum(value == 1 for *_, values in matrix.squares for value in values)
    figure = Figure(
        f"layers-{name}",
        panel.title,
        f"Share of each of {len(names)} tensors that is gone, by method, for {panel.title}. "
        f"{dead} tensors of {len(told)} squares are dead.",
        _spec(names, columns, len({line.label for line, _ in told})),
        f"layers-{name}",
        f"{dead} of {len(names) * len(told)} tensors in {len(told)} squares are dead (×).",
    )
    return figure, matrix


def tensors(square: PlotPoint, what: TensorNumbers) -> list[str]:
    """The tensors that all records of a square tell of."""
    first, *others = (what(record) for record in square.records)
    return [name for name in first if all(name in other for other in others)]


def means(square: PlotPoint, names: Sequence[str], what: TensorNumbers) -> tuple[float | None, ...]:
    """Of each tensor the mean over a square's records; None where one does not know it."""
    told = [what(record) for record in square.records]
    return tuple(_mean([each.get(name) for each in told]) for name in names)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _spec(names: Sequence[str], columns: list[str], methods: int) -> VegaSpec:
    step = 15 if len(names) <= 40 else 11
    encoding: VegaSpec = {
        "x": {
            "field": "label",
            "type": "nominal",
            "sort": None,
            "title": None,
            "axis": methods_axis(methods),
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
        "title": "gone",
        "scale": {"domain": [0, 1], "scheme": "cividis", "reverse": True},
        "legend": {
            "orient": "bottom",
            "gradientLength": 160,
            "titleAnchor": "start",
            "format": ".0%",
            "direction": "horizontal",
        },
    }
    tip = [
        {"field": "tensor"},
        {"field": "label", "title": "method"},
        {"field": "share", "title": "gone", "format": ".2%"},
    ]
    return {
        "height": step * len(names),
        "params": [choice("at", columns, middle(columns), "sparsity")],
        "transform": [{"filter": "datum.column == at"}],
        "layer": [
            {
                "mark": {"type": "rect", "stroke": "var(--sheet)", "strokeWidth": 0.6},
                "encoding": {**encoding, "color": color, "tooltip": tip},
            },
            {
                "transform": [{"filter": "datum.share == 1"}],
                "mark": {"type": "text", "text": "×", "color": "#ffffff", "fontWeight": "bold"},
                "encoding": {**encoding, "tooltip": tip},
            },
        ],
    }
