"""A Sheet: words in rows and columns, written as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

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
"""Characters that LaTeX would read as orders, or not at all."""

UNLIMITED_WIDTH = 10_000
"""Columns of what is no terminal: lines in a file are not broken."""


@dataclass(frozen=True)
class TextTable:
    """A table whose squares are words; what stands behind a line end in one explains what is before it."""

    heads: tuple[str, ...]
    align: str
    """A letter a column, as LaTeX has them: l for words, r for numbers."""
    lines: tuple[tuple[str, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    """What a reader must know."""
    loud: tuple[str, ...] = ()
    """What a reader must know first."""

    @property
    def flat(self) -> tuple[tuple[str, ...], ...]:
        """Its lines with each square in one: `0.847 (0.8 to 0.893)`."""
        return tuple(tuple(map(_flat, line)) for line in self.lines)

    @property
    def csv(self) -> str:
        """Heads and lines, no notes."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.heads, *self.flat])
        return text.getvalue()

    @property
    def markdown(self) -> str:
        """As GitHub shows it, its notes as a list below."""
        rule = ["---:" if letter == "r" else "---" for letter in self.align]
        rows = [map(markdown, self.heads), rule, *(map(markdown, line) for line in self.flat)]
        below = [f"- **{markdown(note)}**" for note in self.loud]
        below += [f"- {markdown(note)}" for note in self.notes]
        above = [f"**{markdown(self.title)}**", ""] if self.title else []
        return "\n".join([*above, *(f"| {' | '.join(row)} |" for row in rows), "", *below]) + "\n"

    @property
    def latex(self) -> str:
        """For the `booktabs` package; title and notes make its caption."""
        rows = [
            " & ".join(
                _number(word) if letter == "r" else latex(word)
                for letter, word in zip(self.align, line, strict=True)
            )
            for line in self.flat
        ]
        sentences = [*([self.title] if self.title else []), *self.loud, *self.notes]
        return booktabs(self.align, self.heads, [f"{row} \\\\" for row in rows], sentences)


def booktabs(
    align: str, heads: Sequence[str], body: Sequence[str], sentences: Sequence[str], above: Sequence[str] = ()
) -> str:
    """A table of LaTeX from the lines of its body; `above` are comments."""
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
    """Words that LaTeX sets as they are."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in text)


def markdown(text: str) -> str:
    """Words that Markdown shows as they are."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", text)


def _number(text: str) -> str:
    """A minus is no hyphen."""
    return re.sub(r"(?<![\w)}])-(?=[\d.])", "$-$", latex(text))


def _flat(word: str) -> str:
    number, parted, below = word.partition("\n")
    return f"{number} ({below})" if parted else number
