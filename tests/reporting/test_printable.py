"""Printable text: what a terminal or a spreadsheet would obey is written out."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.experiment.config import Format
from smc_eval.reporting.printable import (
    LONGEST_LINE,
    error_lines,
    printable,
    printable_lines,
    spreadsheet_text,
)
from smc_eval.reporting.table import table_of
from smc_eval.reporting.terminal import render_table

TRICKS = {
    "\x1b[2J": r"\x1b[2J",
    "\x9b31m": r"\x9b31m",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "a\rb": r"a\rb",
    "a\nb": r"a\nb",
    "\u202eright to left": r"\u202eright to left",
    "\udcff": r"\udcff",
}


@pytest.mark.parametrize("text", TRICKS)
def test_control_characters_are_written_out(text: str) -> None:
    assert printable(text) == TRICKS[text]


def test_words_of_any_script_stay_as_they_are() -> None:
    for text in ("lth (erk) 80.0±1.2", "不许动", "ćśń – ×", "a\u00a0b", "🙂"):
        assert printable(text) == text


def test_lines_of_a_message_stay_apart_and_long_ones_are_cut() -> None:
    assert printable_lines("a\n\x1b\nb") == "a\n\\x1b\nb"
    cut = error_lines("x" * 10_000 + "\nend")
    first, last = cut.split("\n")
    assert len(first) == LONGEST_LINE + 3 and " … " in first and last == "end"


@given(st.text())
def test_no_text_leaves_a_sign_that_a_terminal_obeys(text: str) -> None:
    assert not any(ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0 for sign in printable(text))


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@sum", " =1", "=HYPERLINK(1)", "-"])
def test_a_formula_becomes_a_text(text: str) -> None:
    assert spreadsheet_text(text).startswith("'")


@pytest.mark.parametrize(
    "text", ["-0.5", "+1.2e-3", "-0.847 (-0.9 to -0.8)", "80.0±1.2", "lth:share=0.1", ""]
)
def test_a_number_and_a_name_stay_as_they_are(text: str) -> None:
    assert spreadsheet_text(text) == text


FORMATS: tuple[Format, ...] = ("table", "markdown", "csv", "latex", "json")


@pytest.mark.parametrize("form", FORMATS)
def test_no_format_prints_a_name_that_a_terminal_obeys(record, form: Format) -> None:
    evil = "=cmd\x1b[2J\x9b31m\nnext"
    made = record(evil, task=f"t{evil}", metric=evil, reason=evil, refused_models=[evil], notes=[evil])
    failed = replace(record(value=None, seed=1, reason=evil), model=evil)
    text = render_table(table_of([made, failed]), form)
    assert not any((ord(sign) < 32 and sign != "\n") or 0x7F <= ord(sign) < 0xA0 for sign in text)
    if form == "csv":
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert not any(cell.startswith("=") for cell in cells) and "'=cmd\\x1b[2J\\x9b31m\\nnext" in cells
