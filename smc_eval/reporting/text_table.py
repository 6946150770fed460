"""A TextTable: texts in rows and columns, written as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smc_eval.reporting.printable import printable, spreadsheet_text

LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "–": "--",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
"""Characters that LaTeX reads as commands, or cannot read."""

SHORT_HEAD = 8
"""Heads up to this length stay in one line in a narrow table."""

NARROWEST = 6
"""No column of a narrow table is narrower, unless its texts are."""

READABLE_WIDTH = 20
"""A folded name in a column of this width can still be read."""

UNLIMITED_WIDTH = 10_000
"""Console columns for a file or pipe, so that lines are not broken."""


@dataclass(frozen=True)
class TextTable:
    """A table of texts. In a cell, the text after a line break explains the number before it."""

    heads: tuple[str, ...]
    align: str
    """One letter per column, as in LaTeX: l for words, r for numbers."""
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """Shown before the notes."""

    @property
    def names(self) -> int:
        """The number of columns of names: those of words before the first number, but not all columns."""
        return min(len(self.align) - len(self.align.lstrip("l")), len(self.align) - 1)

    @property
    def flat_rows(self) -> tuple[tuple[str, ...], ...]:
        """Its rows with each cell in one line: `0.847 (0.8 to 0.893)`."""
        return tuple(tuple(map(_flat, row)) for row in self.rows)

    @property
    def csv(self) -> str:
        """Heads and rows, no notes."""
        text = io.StringIO()
        rows = [map(spreadsheet_text, row) for row in (self.heads, *self.flat_rows)]
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()

    @property
    def markdown(self) -> str:
        """In GitHub's Markdown, its notes as a list below."""
        rule = ["---:" if letter == "r" else "---" for letter in self.align]
        rows = [map(markdown, self.heads), rule, *(map(markdown, row) for row in self.flat_rows)]
        below = [f"- **{markdown(note)}**" for note in self.warnings]
        below += [f"- {markdown(note)}" for note in self.notes]
        above = [f"**{markdown(self.title)}**", ""] if self.title else []
        return "\n".join([*above, *(f"| {' | '.join(row)} |" for row in rows), "", *below]) + "\n"

    @property
    def latex(self) -> str:
        """For the `booktabs` package; the caption has title and notes."""
        rows = [
            " & ".join(
                _number(word) if letter == "r" else latex(word)
                for letter, word in zip(self.align, row, strict=True)
            )
            for row in self.flat_rows
        ]
        sentences = [*([self.title] if self.title else []), *self.warnings, *self.notes]
        return booktabs(self.align, self.heads, [f"{row} \\\\" for row in rows], sentences)


def head_lines(head: str) -> Sequence[str]:
    """A head in a narrow table: a long one is broken between its words."""
    return [head] if len(head) <= SHORT_HEAD else head.split()


def column_pieces(widths: Sequence[int], names: int, room: int) -> Iterator[dict[int, int]]:
    """The columns of a table that is wider than a screen, in pieces that fit, by number, with their widths.

    Each piece begins with the columns of names. Long names are folded; a number is not, unless it alone is
    wider than the room that names leave.
    """
    spare = room - sum(widths[names:]) - len(widths) + 1
    least = sum(min(width, READABLE_WIDTH) for width in widths[:names])
    whole = spare >= least  # all columns fit in one piece beside names that can be read
    widest = max((width for width in widths[names:] if width <= room // 2), default=0)
    most = min(room * names // (names + 1), room - names - widest)
    kept = dict(enumerate(_shared(widths[:names], spare if whole else most)))
    room = max(NARROWEST, room - sum(kept.values()) - names)
    piece, left = dict[int, int](), room
    for at, wanted in enumerate(widths[names:], names):
        width = min(wanted, room)
        if piece and left < width:
            yield kept | piece
            piece, left = {}, room
        piece[at] = width
        left -= width + 1
    yield kept | piece


def _shared(widths: Sequence[int], room: int) -> list[int]:
    """Widths of columns that share a room: narrow ones have what they want, the others have equal parts."""
    shares = dict[int, int]()
    for left, at in zip(
        range(len(widths), 0, -1), sorted(range(len(widths)), key=widths.__getitem__), strict=True
    ):
        shares[at] = min(widths[at], max(NARROWEST, room // left))
        room -= shares[at]
    return [shares[at] for at in range(len(widths))]


def booktabs(
    align: str, heads: Sequence[str], body: Sequence[str], sentences: Sequence[str], above: Sequence[str] = ()
) -> str:
    """A LaTeX table from the lines of its body; `above` are comments."""
    caption = " ".join(latex(f"{line[:1].upper()}{line[1:]}.") for line in sentences)
    return "\n".join(
        [
            *(f"% {line}" for line in above),
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            " & ".join(map(latex, heads)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            r"\end{table}",
            "",
        ]
    )


def latex(text: str) -> str:
    """The text with LaTeX's special characters escaped."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in printable(text))


def markdown(text: str) -> str:
    """The text with Markdown's special characters escaped."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", printable(text))


def _number(text: str) -> str:
    """The text for LaTeX, with minus signs in math mode."""
    return re.sub(r"(?<![\w)}])-(?=[\d.])", "$-$", latex(text))


def _flat(text: str) -> str:
    number, line_break, detail = text.partition("\n")
    return f"{number} ({detail})" if line_break else number
