"""A sheet is the same words in each format's own tongue."""

from __future__ import annotations

import pytest

from smc_eval.reporting.text_table import TextTable

SHEET = TextTable(
    ("method", "difference"),
    "lr",
    (("a:b_c=1|2", "-1.5\n-2.0 to 0.1"), ("x-1", "+3.0")),
    "how they differ",
    ("over 3 seeds × 5 items",),
    ("NOT ALIKE",),
)


def test_what_explains_a_number_stands_behind_it_in_brackets() -> None:
    assert SHEET.flat == (("a:b_c=1|2", "-1.5 (-2.0 to 0.1)"), ("x-1", "+3.0"))


def test_csv_holds_heads_and_lines_alone() -> None:
    assert SHEET.csv == "method,difference\na:b_c=1|2,-1.5 (-2.0 to 0.1)\nx-1,+3.0\n"


def test_markdown_escapes_what_it_would_read() -> None:
    assert SHEET.markdown.splitlines() == [
        "**how they differ**",
        "",
        "| method | difference |",
        "| --- | ---: |",
        r"| a:b\_c=1\|2 | -1.5 (-2.0 to 0.1) |",
        "| x-1 | +3.0 |",
        "",
        "- **NOT ALIKE**",
        "- over 3 seeds × 5 items",
    ]


def test_latex_knows_a_minus_from_a_hyphen() -> None:
    body = SHEET.latex.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert body == [r"a:b\_c=1\textbar{}2 & $-$1.5 ($-$2.0 to 0.1) \\", r"x-1 & +3.0 \\"]


def test_latex_captions_are_sentences_in_which_what_is_loud_comes_first() -> None:
    assert r"\caption{How they differ. NOT ALIKE. Over 3 seeds $\times$ 5 items.}" in SHEET.latex
    assert SHEET.latex.isascii()


@pytest.mark.parametrize("text", [SHEET.csv, SHEET.markdown, SHEET.latex])
def test_every_text_ends_its_last_line(text: str) -> None:
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
