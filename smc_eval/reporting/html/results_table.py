"""The suite: every number of the table, what each method keeps of the dense net, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.series import Panel, Series
from smc_eval.reporting.summary import Summaries
from smc_eval.reporting.summary_table import summary_texts


@dataclass(frozen=True)
class PageCell:
    """One square of the page's table."""

    text: str
    below: str = ""
    """Its interval, or what must be known of it."""
    key: float | str | None = None
    """By what it is sorted; None comes last."""
    state: str = "ok"
    best: bool = False


@dataclass(frozen=True)
class PageRow:
    """One line of the page's table."""

    names: tuple[str, ...]
    cells: tuple[PageCell, ...]


def page_rows(summaries: Summaries, columns: Sequence[str]) -> Iterator[PageRow]:
    """The lines of the table: names, the table's columns, then `curves.HEADS`."""
    lines = ((panel, line) for panel in summaries.panels for line in panel.lines)
    for (panel, line), row in zip(lines, summaries.rows, strict=True):
        numbers = [_number(panel, line, at, column) for at, column in enumerate(columns)]
        yield PageRow(
            (row.task, row.model, row.label), (*numbers, *(PageCell(*one) for one in summary_texts(row)))
        )


def _number(panel: Panel, line: Series, at: int, column: str) -> PageCell:
    cell_value = line.cell_values[at]
    squares = [*([line.dense] if line.dense else []), *line.squares]
    square = next((square for square in squares if square.column == column), None)
    if square is None:
        return PageCell(cell_value.text, state=cell_value.state)
    sure = square.interval
    ends = f"{sure.low:.{panel.decimals}f} to {sure.high:.{panel.decimals}f}" if sure else ""
    below = "; ".join([*([ends] if ends else []), *cell_value.remarks])
    return PageCell(_digits(cell_value), below, cell_value.value, cell_value.state, cell_value.best)


def _digits(cell_value: CellValue) -> str:
    return f"{cell_value.value:.{cell_value.decimals}f}{'!' if cell_value.state == 'doubt' else ''}"
