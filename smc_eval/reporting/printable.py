"""Printable text: names and messages as a terminal, a table or a spreadsheet may safely show them."""

from __future__ import annotations

import re
import unicodedata

LONGEST_LINE = 1000
"""Characters of a line of an error that are shown."""

_ONE = r"[-+]?\d[\d.,]*(e[-+]?\d+)?%?"
_NUMBER = re.compile(rf"{_ONE}(\s*±\s*{_ONE})?(\s*\({_ONE}( to {_ONE})?\))?", re.IGNORECASE)


def printable(text: str) -> str:
    r"""The text in one line, with control characters written out: `\x1b` for an escape.

    They could move the cursor of a terminal, change its colours or its title, or hide what follows. So could
    marks that turn the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(_sign(sign) for sign in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which stay apart."""
    return "\n".join(map(printable, text.split("\n")))


def error_lines(error: object) -> str:
    """The message of an error, printable, and with its very long lines cut."""
    lines = printable_lines(str(error)).split("\n")
    half = LONGEST_LINE // 2
    return "\n".join(
        line if len(line) <= LONGEST_LINE else f"{line[:half]} … {line[-half:]}" for line in lines
    )


def spreadsheet_text(text: str) -> str:
    """The text for a cell of a CSV file: no spreadsheet takes it for a formula.

    A text that begins like a formula and is no number gets an apostrophe, as OWASP advises (CSV injection).
    """
    shown = printable(text)
    formula = shown.lstrip()[:1] in {"=", "+", "-", "@"} and not _NUMBER.fullmatch(shown)
    return f"'{shown}" if formula else shown


def _sign(sign: str) -> str:
    category = unicodedata.category(sign)
    if category in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return sign.encode("unicode_escape").decode("ascii")
    return sign
