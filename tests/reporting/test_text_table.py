"""Text tables in each format."""

from __future__ import annotations

import pytest

from smc_eval.reporting.text_table import TextTable

TABLE = TextTable(
    ("method", "difference"),
    "lr",
    (("a:b_c=1|2", "-1.5\n-2.0 to 0.1"), ("x-1", "+3.0")),
    "how they differ",
    ("over 3 seeds × 5 items",),
    ("DIFFERENT SCOPES",),
)


def test_the_detail_of_a_number_follows_it_in_parentheses() -> None:
    assert TABLE.flat_rows == (("a:b_c=1|2", "-1.5 (-2.0 to 0.1)"), ("x-1", "+3.0"))


def test_csv_has_heads_and_rows_only() -> None:
    assert TABLE.csv == "method,difference\na:b_c=1|2,-1.5 (-2.0 to 0.1)\nx-1,+3.0\n"


def test_markdown_escapes_special_characters() -> None:
    assert TABLE.markdown.splitlines() == [
        "**how they differ**",
        "",
        "| method | difference |",
        "| --- | ---: |",
        r"| a:b\_c=1\|2 | -1.5 (-2.0 to 0.1) |",
        "| x-1 | +3.0 |",
        "",
        "- **DIFFERENT SCOPES**",
        "- over 3 seeds × 5 items",
    ]


def test_latex_distinguishes_a_minus_from_a_hyphen() -> None:
    body = TABLE.latex.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert body == [r"a:b\_c=1\textbar{}2 & $-$1.5 ($-$2.0 to 0.1) \\", r"x-1 & +3.0 \\"]


def test_a_latex_caption_has_sentences_with_warnings_before_notes() -> None:
    assert r"\caption{How they differ. DIFFERENT SCOPES. Over 3 seeds $\times$ 5 items.}" in TABLE.latex
    assert TABLE.latex.isascii()


@pytest.mark.parametrize("text", [TABLE.csv, TABLE.markdown, TABLE.latex])
def test_every_format_ends_with_one_line_break(text: str) -> None:
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
