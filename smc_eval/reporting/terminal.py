"""The table on a terminal, or as text in one of five formats."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import IO, TYPE_CHECKING, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as Drawing
from rich.text import Text

from smc_eval.experiment.config import Format
from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.export import as_csv, as_latex, as_markdown, json_parts, summary_tables
from smc_eval.reporting.footnotes import Footnotes, footnotes
from smc_eval.reporting.printable import printable, printable_lines
from smc_eval.reporting.table import Table, TableRow
from smc_eval.reporting.text_table import UNLIMITED_WIDTH, TextTable, column_pieces, head_lines

if TYPE_CHECKING:
    from smc_eval.reporting.summary import Summaries

STYLES = {"ok": "", "doubt": "red", "failed": "red", "skipped": "dim", "missing": "dim"}

ASCII_SIGNS = str.maketrans({"±": "~", "–": "-", "·": "-", "×": "x", "≥": ">="})
"""Replacements for terminals that print ASCII only."""


def render_table(table: Table, form: Format, summaries: Summaries | None = None) -> str:
    """The table as text with a final line break; in format `table`, as wide as needed.

    The summaries of its curves follow it; in CSV, they replace it.
    """
    match form:
        case "markdown":
            return as_markdown(table, summaries)
        case "csv":
            return as_csv(table, summaries)
        case "latex":
            return as_latex(table, summaries)
        case "json":
            return "".join(json_parts(table, summaries))
        case "table":
            text = io.StringIO()
            print_table(table, text_console(text), summaries)
            return text.getvalue()


def text_console(text: IO[str]) -> Console:
    """A console that writes plain text, also in a notebook, where rich would show it at once."""
    return Console(file=text, force_terminal=False, force_jupyter=False, color_system=None)


def print_table(
    table: Table, console: Console, summaries: Summaries | None = None, *, details: bool = False
) -> None:
    """Print the table with its footnotes, no wider than the terminal; a file or pipe gets whole lines.

    `details` adds a line for each cell: further numbers, sparsity over every denominator, cost.
    """
    if not table.rows:
        console.print("no results")
        return
    writer = ConsoleWriter(console)
    room = console.width if console.is_terminal else None
    writer.print(*_layout(table, room).drawings(writer))
    if details:
        writer.print(Text(), *_details(table, writer))
    writer.print(Text(), *_footer(footnotes(table), writer))
    for text_table in summary_tables(summaries):
        writer.print(Text())
        print_text_table(text_table, console)


def print_text_table(text_table: TextTable, console: Console) -> None:
    """Print a text table with its notes, no wider than the terminal; a file or pipe gets whole lines."""
    if not console.is_terminal:
        console.width = UNLIMITED_WIDTH
    writer = ConsoleWriter(console)
    if text_table.title:
        writer.print(writer.text(text_table.title, "bold"))
    writer.print(*_text_drawings(text_table, writer), Text())
    writer.print(*(writer.text(note, "bold red") for note in text_table.warnings))
    writer.print(*(writer.text(note, "dim") for note in text_table.notes))


def render_text_table(text_table: TextTable) -> str:
    """A text table with its notes as text with a final line break, as wide as needed."""
    text = io.StringIO()
    print_text_table(text_table, text_console(text))
    return text.getvalue()


def _text_drawings(text_table: TextTable, writer: ConsoleWriter) -> Iterator[RenderableType]:
    """One line per row if that fits; else explanations are below their numbers, and columns in pieces."""
    room, flat = writer.console.width, text_table.flat_rows
    widths = [_widest(*column) for column in zip(text_table.heads, *flat, strict=True)]
    if sum(widths) + 3 * (len(widths) - 1) <= room:
        yield _text_drawing(text_table, flat, dict(enumerate(widths)), writer)
        return
    widths = [
        _widest(*head_lines(head), *(line for row in text_table.rows for line in row[at].split("\n")))
        for at, head in enumerate(text_table.heads)
    ]
    for number, piece in enumerate(column_pieces(widths, text_table.names, room)):
        if number:
            yield Text()
        yield _text_drawing(text_table, text_table.rows, piece, writer)


def _text_drawing(
    text_table: TextTable, rows: Sequence[Sequence[str]], widths: Mapping[int, int], writer: ConsoleWriter
) -> Drawing:
    """Some columns of a text table, by number, with their widths."""
    drawing = Drawing(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    if rows is text_table.rows:
        drawing.padding = (0, 0, 0, 0)
    for at, width in widths.items():
        side: Literal["left", "right"] = "right" if text_table.align[at] == "r" else "left"
        drawing.add_column(writer.text(text_table.heads[at]), width=width, justify=side, overflow="fold")
    for row in rows:
        drawing.add_row(*(writer.text(row[at]) for at in widths))
    return drawing


@dataclass(frozen=True)
class ConsoleWriter:
    """Prints on a console, with characters that it supports; breaks no line of a file or pipe."""

    console: Console

    def text(self, content: str, style: str = "") -> Text:
        """A text without markup and without control characters."""
        content = printable_lines(content)
        if self.console.options.ascii_only:
            code = self.console.encoding
            content = content.translate(ASCII_SIGNS).encode(code, "replace").decode(code)
        return Text(content, style)

    def print(self, *parts: RenderableType) -> None:
        """Print parts, one below the other."""
        for part in parts:
            terminal = self.console.is_terminal
            whole = isinstance(part, Text) and not terminal
            self.console.print(part, crop=terminal, soft_wrap=whole, highlight=False)


@dataclass(frozen=True)
class TableLayout:
    """How a table is laid out: one line per row, or narrower."""

    table: Table
    flat: bool
    """Whether task and model are columns; else they are a line above their rows."""
    tall: bool
    """Whether interval and remarks are below the number; else they are beside it."""
    room: int | None = None
    """Columns of the terminal, if the table must be split into pieces."""

    @property
    def width(self) -> int:
        """Columns of the terminal that it needs in one piece."""
        widths = [*self._name_widths, *self._number_widths]
        return sum(widths) + self._gap * (len(widths) - 1)

    def drawings(self, writer: ConsoleWriter) -> Iterator[RenderableType]:
        """The parts to print, one below the other."""
        for number, piece in enumerate(self._pieces()):
            if number:
                yield Text()
            if self.flat:
                yield self._filled_drawing(self.table.rows, piece, writer)
                continue
            yield self._empty_drawing(piece, writer)
            for (task, model), rows in _groups(self.table):
                title = printable(f"{task} · {model}" if len(self.table.models) > 1 else task)
                yield writer.text(title, "bold cyan")
                yield self._filled_drawing(rows, piece, writer, header=False)

    @property
    def _gap(self) -> int:
        return 1 if self.tall else 2

    @property
    def _heads(self) -> tuple[str, ...]:
        return self.table.heads if self.flat else ("method",)

    @property
    def _name_widths(self) -> list[int]:
        """Widths of the columns of names."""
        rows = self.table.rows
        widths = [_widest(head, *(self._name(head, row) for row in rows)) for head in self._heads]
        return widths if self.room is None else [min(width, max(6, self.room // 3)) for width in widths]

    @property
    def _number_widths(self) -> list[int]:
        """Widths of the columns of numbers."""
        rows, names = self.table.rows, enumerate(self.table.columns)
        return [
            _widest(name, *(line for row in rows for line in self._lines(row.cell_values[at])))
            for at, name in names
        ]

    def _name(self, head: str, row: TableRow) -> str:
        name = printable(getattr(row, head))
        return name if self.flat else f" {name}"

    def _lines(self, cell_value: CellValue) -> tuple[str, ...]:
        return cell_value.lines if self.tall else (cell_value.text,)

    def _pieces(self) -> Iterator[list[int]]:
        """The columns of numbers of each piece: all in one, if there is room."""
        if self.room is None:
            yield list(range(len(self._number_widths)))
            return
        piece, left = list[int](), self.room - sum(self._name_widths)
        for at, width in enumerate(self._number_widths):
            if piece and left < width + self._gap:
                yield piece
                piece, left = [], self.room - sum(self._name_widths)
            piece.append(at)
            left -= width + self._gap
        yield piece

    def _empty_drawing(self, piece: Iterable[int], writer: ConsoleWriter, *, header: bool = True) -> Drawing:
        drawing = Drawing(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=header)
        drawing.padding = 0, self._gap - 1, 0, 0  # the box itself puts one blank between columns
        for head, width in zip(self._heads, self._name_widths, strict=True):
            drawing.add_column(writer.text(head), width=width, overflow="fold")
        for at in piece:
            name, width = self.table.columns[at], self._number_widths[at]
            drawing.add_column(writer.text(name), width=width, justify="right", overflow="fold")
        widths = [column.width or 0 for column in drawing.columns]
        drawing.width = sum(widths) + self._gap * (len(widths) - 1)
        return drawing

    def _filled_drawing(
        self, rows: Sequence[TableRow], piece: Sequence[int], writer: ConsoleWriter, *, header: bool = True
    ) -> Drawing:
        drawing, before = self._empty_drawing(piece, writer, header=header), ("", "")
        several = len(rows) > len(list(_groups(self.table)))
        for row in rows:
            same = (row.task, row.model) == before
            if before != ("", "") and not same and several:
                drawing.add_section()
            before = row.task, row.model
            names = ["" if same and head != "method" else self._name(head, row) for head in self._heads]
            values = [row.cell_values[at] for at in piece]
            drawing.add_row(
                *map(writer.text, names),
                *(
                    writer.text("\n".join(self._lines(value)), "bold" if value.best else STYLES[value.state])
                    for value in values
                ),
            )
        return drawing


def _layout(table: Table, room: int | None) -> TableLayout:
    """The first layout that fits; if none does, the narrowest, split into pieces."""
    for flat, tall in ((True, False), (True, True), (False, False), (False, True)):
        layout = TableLayout(table, flat, tall)
        if room is None or layout.width <= room:
            return layout
    return TableLayout(table, flat=False, tall=True, room=room)


def _widest(*texts: str) -> int:
    return max(map(cell_len, texts))


def _groups(table: Table) -> Iterator[tuple[tuple[str, str], list[TableRow]]]:
    for key, rows in groupby(table.rows, key=lambda row: (row.task, row.model)):
        yield key, list(rows)


def _details(table: Table, writer: ConsoleWriter) -> Iterator[Text]:
    """A line for every cell that has a number."""
    yield writer.text("further numbers; folds are weighted as in the score", "bold")
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
                yield writer.text(f"{place}: {'; '.join(parts)}", STYLES[cell_value.state])


def _footer(notes: Footnotes, writer: ConsoleWriter) -> Iterator[Text]:
    for line in notes.warnings:
        yield writer.text(line, "bold red")
    for line in notes.problems:
        yield writer.text(line, "red")
    for line in (*notes.settings, *notes.totals):
        yield writer.text(line, "dim")
