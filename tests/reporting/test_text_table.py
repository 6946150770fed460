"""Text tables in each format."""

from __future__ import annotations

import pytest

from smc_eval.reporting.text_table import TextTable, column_pieces

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


def test_columns_that_do_not_fit_come_in_further_pieces_with_the_names() -> None:
    # names of 20 and numbers of 10, with a blank between columns: 20 + 11 + 11 = 42
    assert list(column_pieces([20, 10, 10, 10], 1, 42)) == [{0: 20, 1: 10, 2: 10}, {0: 20, 3: 10}]
    assert list(column_pieces([20, 10, 10, 10], 1, 41)) == [{0: 20, 1: 10}, {0: 20, 2: 10}, {0: 20, 3: 10}]


def test_long_names_are_narrower_than_their_texts_and_numbers_are_not() -> None:
    assert list(column_pieces([90, 90, 12, 12], 2, 60)) == [{0: 20, 1: 20, 2: 12}, {0: 20, 1: 20, 3: 12}]


def test_names_have_the_room_that_narrow_columns_leave() -> None:
    # 60 columns, of which a verdict takes 4, a time 7 and two blanks 2: 47 are left
    assert list(column_pieces([56, 4, 7], 2, 60)) == [{0: 47, 1: 4, 2: 7}]


def test_a_column_is_at_most_as_wide_as_the_screen() -> None:
    assert list(column_pieces([8, 99], 1, 30)) == [{0: 8, 1: 21}]
