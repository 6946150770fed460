"""Lines for a terminal: what is too long for one goes on below its last column."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap

import typer

INDENT = 4
"""Further indentation of a line that goes on, if there is no room below its last column."""


def echo_hanging(text: str) -> None:
    """Print lines whose columns are two or more blanks apart; a file or pipe gets them whole."""
    if not sys.stdout.isatty():
        typer.echo(text)
        return
    width = shutil.get_terminal_size().columns
    typer.echo("\n".join(piece for line in text.split("\n") for piece in hanging(line, width)))


def hanging(line: str, width: int) -> list[str]:
    """The line in pieces that are no longer than `width`, unless a single word is."""
    if len(line) <= width:
        return [line]
    margin = len(line) - len(line.lstrip())
    start = max((match.end() for match in re.finditer(r"(?<=\S) {2,}(?=\S)", line)), default=margin)
    if start == margin:
        return _wrapped(line.strip(), " " * margin, " " * (margin + INDENT), width)
    if start <= width // 2:
        return _wrapped(line[start:], line[:start], " " * start, width)
    further = " " * (margin + INDENT)
    return [*hanging(line[:start].rstrip(), width), *_wrapped(line[start:], further, further, width)]


def _wrapped(text: str, first: str, further: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
