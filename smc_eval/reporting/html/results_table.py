"""The page's table of all numbers, and of each method's summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.series import Panel, Series
from smc_eval.reporting.summary import Summaries
from smc_eval.reporting.summary_table import summary_texts


@dataclass(frozen=True)
class PageCell:
    """One cell of the page's table."""

    text: str
    detail: str = ""
    """Its interval and remarks, shown below it."""
    sort_key: float | str | None = None
    """None is sorted last."""
    state: str = "ok"
    best: bool = False


@dataclass(frozen=True)
class PageRow:
    """One row of the page's table."""

    names: tuple[str, ...]
    cells: tuple[PageCell, ...]


def page_rows(summaries: Summaries, columns: Sequence[str]) -> Iterator[PageRow]:
    """The rows of the table: names, the table's columns, then `SUMMARY_HEADS`."""
    all_series = ((panel, series) for panel in summaries.panels for series in panel.series)
    for (panel, series), row in zip(all_series, summaries.rows, strict=True):
        numbers = [_number(panel, series, at, column) for at, column in enumerate(columns)]
        texts = [PageCell(*number) for number in summary_texts(row)]
        yield PageRow((row.task, row.model, row.label), (*numbers, *texts))


def _number(panel: Panel, series: Series, at: int, column: str) -> PageCell:
    cell_value = series.cell_values[at]
    points = [*([series.dense] if series.dense else []), *series.points]
    point = next((point for point in points if point.column == column), None)
    if point is None:
        return PageCell(cell_value.text, state=cell_value.state)
    interval, digits = point.interval, panel.decimals
    ends = interval.ends(f".{digits}f") if interval else ""
    detail = "; ".join([*([ends] if ends else []), *cell_value.remarks])
    return PageCell(_digits(cell_value), detail, cell_value.value, cell_value.state, cell_value.best)


def _digits(cell_value: CellValue) -> str:
    return f"{cell_value.value:.{cell_value.decimals}f}{'!' if cell_value.state == 'doubt' else ''}"
