"""From results to what people see: a table on a screen, or text in one of five formats."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table as Drawing
from rich.text import Text

from smc_eval.exports import as_csv, as_json, as_latex, as_markdown, check_writable, document, write
from smc_eval.footnotes import Footnotes, footnotes
from smc_eval.order import Format
from smc_eval.results import Result
from smc_eval.table import Entry, Row, Table, tabulated

__all__ = ["check_writable", "document", "render", "show", "write"]

STYLES = {"ok": "", "doubt": "red", "failed": "red", "skipped": "dim", "missing": "dim"}
ASCII = str.maketrans({"±": "~", "–": "-", "·": ":", "…": "."})
"""For terminals that know no other signs."""


def render(results: Sequence[Result], form: Format) -> str:
    """Results as text, a line end at its end; `table` is as wide as it needs."""
    match form:
        case "markdown":
            return as_markdown(results)
        case "csv":
            return as_csv(results)
        case "latex":
            return as_latex(results)
        case "json":
            return as_json(results)
        case "table":
            text = io.StringIO()
            show(results, Console(file=text, force_terminal=False, color_system=None))
            return text.getvalue()


def show(results: Sequence[Result], console: Console, *, details: bool = False) -> None:
    """Print the table with its footnotes, as wide as the screen allows; a file or pipe gets full lines.

    `details` adds a line for each square: further numbers, sparsity over every denominator, cost.
    """
    table = tabulated(results)
    if not table.rows:
        console.print(Text("no results"))
        return
    room = console.width if console.is_terminal else None
    parts = [*_drawn(table, room), *([_detailed(table)] if details else []), *_below(footnotes(table))]
    for part in parts:
        if console.options.ascii_only and isinstance(part, Text):
            part.plain = part.plain.translate(ASCII)
        console.print(part, crop=room is not None, soft_wrap=room is None and isinstance(part, Text), highlight=False)
