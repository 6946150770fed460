"""Blocks of code in Markdown, with what a comment above a block says about its check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(
    r"^(?P<above>(?:<!-- [^\n]* -->\n)*)```(?P<language>[^\n]*)\n(?P<text>.*?)^```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
"""A block, and the comments directly above it."""

COMMENT = re.compile(r"<!-- (unchecked|checked by|provided): ([^\n]*?) -->")
"""A comment that a check reads.

    <!-- unchecked: printed by release 0.1.0 -->
    <!-- checked by: test_the_name_of_a_test -->
    <!-- provided: Mine, batches -->

The last one names what the reader of a block of Python provides.
"""


@dataclass(frozen=True)
class Block:
    """A block of code."""

    language: str
    text: str
    line: int
    """Line of the page at which it begins, counted from 1."""
    unchecked: str = ""
    """Why no test checks it."""
    checked_by: str = ""
    """The test that checks it."""
    provided: tuple[str, ...] = ()
    """Names of Python that the reader provides."""


def blocks_of(text: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    for found in FENCE.finditer(text):
        said = dict(COMMENT.findall(found["above"]))
        provided = tuple(name.strip() for name in said.get("provided", "").split(",") if name.strip())
        line = text.count("\n", 0, found.start("language")) + 1
        yield Block(
            found["language"].strip(),
            found["text"],
            line,
            said.get("unchecked", ""),
            said.get("checked by", ""),
            provided,
        )
