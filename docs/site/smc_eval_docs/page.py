"""A page of the site, and the Markdown that generated pages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[3]
"""The repository."""

HOME = "https://github.com/smc-eval/smc-eval/blob/main/"
"""Where readers find files of the repository that are no pages."""

CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
"""A code span."""

SPECIAL = str.maketrans(
    {sign: f"\\{sign}" for sign in "\\*_[]#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;"}
)
"""Signs that Markdown would read as its own. Not all of them can be escaped by a backslash."""

ADDRESS = re.compile(r"(?<![\w(<])(https?://[^\s<>|]*[^\s<>|.,;:)])|\barXiv:(\d{4}\.\d{4,5})")
"""An address, or the number of a preprint."""


@dataclass(frozen=True)
class Page:
    """A Markdown page: its place in the site, its title in the navigation, and its text."""

    path: str
    title: str
    text: str


def plain(text: str) -> str:
    """Ordinary text as Markdown: nothing but its code spans is read as Markdown. Addresses become links."""
    parts, end = [], 0
    for span in CODE.finditer(text):
        parts += [_linked(text[end : span.start()]), span.group()]
        end = span.end()
    return "".join([*parts, _linked(text[end:])])


def _linked(text: str) -> str:
    """Text without code spans."""
    parts, end = [], 0
    for link in ADDRESS.finditer(text):
        address = link[1] or f"https://arxiv.org/abs/{link[2]}"
        parts += [text[end : link.start()].translate(SPECIAL), f"[{link.group()}]({address})"]
        end = link.end()
    return "".join([*parts, text[end:].translate(SPECIAL)])


def code(text: str) -> str:
    """A word of the command line or of Python."""
    return f"`{text}`" if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """A table of Markdown. `align` has a letter for each column: `r` for numbers.

    In this site a bar in a code span ends no cell; on GitHub it would.
    """
    marks = ["--:" if letter == "r" else "---" for letter in align.ljust(len(head), "l")]
    return "\n".join(_row(cells) for cells in (head, marks, *rows))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def paragraphs(docstring: str) -> str:
    """A docstring as Markdown; indented lines are code."""
    blocks = []
    for block in re.split(r"\n\s*\n", docstring.strip("\n")):
        indented = all(line.startswith("    ") for line in block.splitlines())
        blocks.append(block if indented else plain(block))
    return "\n\n".join(blocks)


def sentence(text: str) -> str:
    """A line of a card as a sentence."""
    return f"{plain(text[:1].upper() + text[1:])}."


def fenced(text: str, language: str = "") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def relative(target: str, origin: str) -> str:
    """The path from one page of the site to another."""
    up = len(PurePosixPath(origin).parent.parts)
    return "../" * up + target
