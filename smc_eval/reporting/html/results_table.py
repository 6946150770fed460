"""The suite: every number of the table, what each method keeps of the dense net, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smc_eval.reporting.cell_value import Entry
from smc_eval.reporting.series import Line, Panel
from smc_eval.reporting.summary import Standings
from smc_eval.reporting.summary_table import told


@dataclass(frozen=True)
class Cell:
    """One square of the page's table."""

    text: str
    below: str = ""
    """Its interval, or what must be known of it."""
    key: float | str | None = None
    """By what it is sorted; None comes last."""
    state: str = "ok"
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the page's table."""

    names: tuple[str, ...]
    cells: tuple[Cell, ...]


def rows(standings: Standings, columns: Sequence[str]) -> Iterator[Row]:
    """The lines of the table: names, the table's columns, then `curves.HEADS`."""
    lines = ((panel, line) for panel in standings.panels for line in panel.lines)
    for (panel, line), row in zip(lines, standings.rows, strict=True):
        numbers = [_number(panel, line, at, column) for at, column in enumerate(columns)]
        yield Row((row.task, row.model, row.label), (*numbers, *(Cell(*one) for one in told(row))))


def _number(panel: Panel, line: Line, at: int, column: str) -> Cell:
    entry = line.entries[at]
    squares = [*([line.dense] if line.dense else []), *line.squares]
    square = next((square for square in squares if square.column == column), None)
    if square is None:
        return Cell(entry.text, state=entry.state)
    sure = square.interval
    ends = f"{sure.low:.{panel.decimals}f} to {sure.high:.{panel.decimals}f}" if sure else ""
    below = "; ".join([*([ends] if ends else []), *entry.remarks])
    return Cell(_digits(entry), below, entry.value, entry.state, entry.best)


def _digits(entry: Entry) -> str:
    return f"{entry.value:.{entry.decimals}f}{'!' if entry.state == 'doubt' else ''}"
