"""From a table to what people see: a table on a screen, or text in one of five formats."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as Drawing
from rich.text import Text

from smc_eval.experiment.config import Format
from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.export import (
    as_csv,
    as_json,
    as_latex,
    as_markdown,
)
from smc_eval.reporting.footnotes import Footnotes, footnotes
from smc_eval.reporting.summary import Summaries
from smc_eval.reporting.summary_table import text_tables
from smc_eval.reporting.table import Table, TableRow
from smc_eval.reporting.text_table import UNLIMITED_WIDTH, TextTable

STYLES = {"ok": "", "doubt": "red", "failed": "red", "skipped": "dim", "missing": "dim"}

ASCII_SIGNS = str.maketrans({"±": "~", "–": "-", "·": "-", "×": "x", "≥": ">="})
"""For terminals that have no such signs."""


def render_table(table: Table, form: Format, summaries: Summaries | None = None) -> str:
    """The table as text, a line end at its end; as `table` it is as wide as it needs.

    With standings, what they tell of its curves stands below; in CSV, in its place.
    """
    match form:
        case "markdown":
            return as_markdown(table, summaries)
        case "csv":
            return as_csv(table, summaries)
        case "latex":
            return as_latex(table, summaries)
        case "json":
            return as_json(table, summaries)
        case "table":
            text = io.StringIO()
            print_table(table, Console(file=text, force_terminal=False, color_system=None), summaries)
            return text.getvalue()


def print_table(
    table: Table, console: Console, summaries: Summaries | None = None, *, details: bool = False
) -> None:
    """Print the table with its footnotes, as wide as a terminal allows; a file or pipe gets whole lines.

    `details` adds a line for each square: further numbers, sparsity over every denominator, cost.
    """
    if not table.rows:
        console.print("no results")
        return
    pen = Pen(console)
    room = console.width if console.is_terminal else None
    pen.print(*_chosen(table, room).drawn(pen))
    if details:
        pen.print(Text(), *_detailed(table, pen))
    pen.print(Text(), *_below(footnotes(table), pen))
    for text_table in text_tables(summaries) if summaries else []:
        pen.print(Text())
        print_text_table(text_table, console)


def print_text_table(text_table: TextTable, console: Console) -> None:
    """Print a sheet with its notes, as wide as a terminal allows; a file or pipe gets whole lines."""
    if not console.is_terminal:
        console.width = UNLIMITED_WIDTH
    pen = Pen(console)
    if text_table.title:
        pen.print(pen.text(text_table.title, "bold"))
    pen.print(_laid(text_table, pen), Text())
    pen.print(*(pen.text(note, "bold red") for note in text_table.loud))
    pen.print(*(pen.text(note, "dim") for note in text_table.notes))


def _laid(text_table: TextTable, pen: Pen) -> Drawing:
    """In less room than whole lines take, what explains a number stands below it, and names keep theirs."""
    drawing = Drawing(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    room, lines = pen.console.width, text_table.flat
    widths = [_widest(*column) for column in zip(text_table.heads, *lines, strict=True)]
    if tall := sum(widths) + 3 * (len(widths) - 1) > room:
        lines, drawing.padding = text_table.lines, (0, 0, 0, 0)
    names = len(text_table.align) - len(text_table.align.lstrip("l"))
    for at, (head, letter) in enumerate(zip(text_table.heads, text_table.align, strict=True)):
        width = min(widths[at], room // 3) if tall and at < names else None
        side: Literal["left", "right"] = "right" if letter == "r" else "left"
        drawing.add_column(pen.text(head), width=width, justify=side, overflow="fold")
    for line in lines:
        drawing.add_row(*map(pen.text, line))
    return drawing


@dataclass(frozen=True)
class Pen:
    """Writes on a console only signs that it has, and breaks no line that goes into a file."""

    console: Console

    def text(self, words: str, style: str = "") -> Text:
        """Words that are never read as markup."""
        if self.console.options.ascii_only:
            code = self.console.encoding
            words = words.translate(ASCII_SIGNS).encode(code, "replace").decode(code)
        return Text(words, style)

    def print(self, *parts: RenderableType) -> None:
        """Print parts, one below the other."""
        for part in parts:
            screen = self.console.is_terminal
            soft = isinstance(part, Text) and not screen
            self.console.print(part, crop=screen, soft_wrap=soft, highlight=False)


@dataclass(frozen=True)
class TableLayout:
    """How a table is laid out: everything in a line, or in less room."""

    table: Table
    flat: bool
    """Task and model stand in columns; else on a line of their own above their rows."""
    tall: bool
    """Deviation and remarks stand below the number; else beside it."""
    room: int | None = None
    """Columns of the terminal, if the table must be cut into pieces to fit."""

    @property
    def width(self) -> int:
        """Columns of the screen it takes in one piece."""
        widths = [*self._labels, *self._numbers]
        return sum(widths) + self._gap * (len(widths) - 1)

    def drawn(self, pen: Pen) -> Iterator[RenderableType]:
        """The parts to print, one below the other."""
        for number, piece in enumerate(self._pieces()):
            if number:
                yield Text()
            if self.flat:
                yield self._filled(self.table.rows, piece, pen)
                continue
            yield self._drawing(piece, pen)
            for (task, model), rows in _groups(self.table):
                title = f"{task} · {model}" if len(self.table.models) > 1 else task
                yield pen.text(title, "bold cyan")
                yield self._filled(rows, piece, pen, header=False)

    @property
    def _gap(self) -> int:
        return 1 if self.tall else 2

    @property
    def _heads(self) -> tuple[str, ...]:
        return self.table.heads if self.flat else ("method",)

    @property
    def _labels(self) -> list[int]:
        """Widths of the columns of words."""
        rows = self.table.rows
        widths = [_widest(head, *(self._word(head, row) for row in rows)) for head in self._heads]
        return widths if self.room is None else [min(width, max(6, self.room // 3)) for width in widths]

    @property
    def _numbers(self) -> list[int]:
        """Widths of the columns of numbers."""
        rows, names = self.table.rows, enumerate(self.table.columns)
        return [
            _widest(name, *(word for row in rows for word in self._said(row.cell_values[at])))
            for at, name in names
        ]

    def _word(self, head: str, row: TableRow) -> str:
        word: str = getattr(row, head)
        return word if self.flat else f" {word}"

    def _said(self, cell_value: CellValue) -> tuple[str, ...]:
        return cell_value.lines if self.tall else (cell_value.text,)

    def _pieces(self) -> Iterator[list[int]]:
        """Which columns of numbers stand in which piece: all in one, if there is room."""
        if self.room is None:
            yield list(range(len(self._numbers)))
            return
        piece, left = list[int](), self.room - sum(self._labels)
        for at, width in enumerate(self._numbers):
            if piece and left < width + self._gap:
                yield piece
                piece, left = [], self.room - sum(self._labels)
            piece.append(at)
            left -= width + self._gap
        yield piece

    def _drawing(self, piece: Iterable[int], pen: Pen, *, header: bool = True) -> Drawing:
        drawing = Drawing(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=header)
        drawing.padding = 0, self._gap - 1, 0, 0  # the box itself puts one blank between columns
        for head, width in zip(self._heads, self._labels, strict=True):
            drawing.add_column(pen.text(head), width=width, overflow="fold")
        for at in piece:
            name, width = self.table.columns[at], self._numbers[at]
            drawing.add_column(pen.text(name), width=width, justify="right", overflow="fold")
        widths = [column.width or 0 for column in drawing.columns]
        drawing.width = sum(widths) + self._gap * (len(widths) - 1)
        return drawing

    def _filled(
        self, rows: Sequence[TableRow], piece: Sequence[int], pen: Pen, *, header: bool = True
    ) -> Drawing:
        drawing, before = self._drawing(piece, pen, header=header), ("", "")
        several = len(rows) > len(list(_groups(self.table)))
        for row in rows:
            same = (row.task, row.model) == before
            if before != ("", "") and not same and several:
                drawing.add_section()
            before = row.task, row.model
            words = ["" if same and head != "method" else self._word(head, row) for head in self._heads]
            squares = [(row.cell_values[at], "\n".join(self._said(row.cell_values[at]))) for at in piece]
            drawing.add_row(
                *(pen.text(word) for word in words),
                *(
                    pen.text(said, "bold" if cell_value.best else STYLES[cell_value.state])
                    for cell_value, said in squares
                ),
            )
        return drawing


def _chosen(table: Table, room: int | None) -> TableLayout:
    """The first layout that fits; if none does, the narrowest, cut into pieces."""
    for flat, tall in ((True, False), (True, True), (False, False), (False, True)):
        layout = TableLayout(table, flat, tall)
        if room is None or layout.width <= room:
            return layout
    return TableLayout(table, flat=False, tall=True, room=room)


def _widest(*words: str) -> int:
    return max(map(cell_len, words))


def _groups(table: Table) -> Iterator[tuple[tuple[str, str], list[TableRow]]]:
    for key, rows in groupby(table.rows, key=lambda row: (row.task, row.model)):
        yield key, list(rows)


def _detailed(table: Table, pen: Pen) -> Iterator[Text]:
    """A line for every square that holds a number."""
    yield pen.text("further numbers; folds weigh as in the score", "bold")
    for row in table.rows:
        for column, cell_value in zip(table.columns, row.cell_values, strict=True):
            if cell_value.state in {"ok", "doubt"}:
                parts = [
                    cell_value.text,
                    *(f"{name} {value:.{cell_value.decimals}f}" for name, value in cell_value.also.items()),
                    "sparsity "
                    + ", ".join(f"{name} {share:.4f}" for name, share in cell_value.reached.items()),
                    f"{cell_value.seconds:,.1f} s",
                ]
                place = " ".join([*(getattr(row, head) for head in table.heads), column])
                yield pen.text(f"{place}: {'; '.join(parts)}", STYLES[cell_value.state])


def _below(notes: Footnotes, pen: Pen) -> Iterator[Text]:
    for line in notes.loud:
        yield pen.text(line, "bold red")
    for line in notes.troubles:
        yield pen.text(line, "red")
    for line in (*notes.setting, *notes.account):
        yield pen.text(line, "dim")
