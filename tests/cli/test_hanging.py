"""Lines that are too long for the terminal go on below their last column."""

from __future__ import annotations

import pytest

from smc_eval.cli.hanging import hanging

LONG = "  lth   in rounds  " + "iterative magnitude pruning, rewinding weights after each round"


def test_a_line_that_fits_is_as_it_was() -> None:
    assert hanging("  a  b   c", 10) == ["  a  b   c"]


def test_a_long_line_goes_on_below_its_last_column() -> None:
    assert hanging(LONG, 50) == [
        "  lth   in rounds  iterative magnitude pruning,",
        "                   rewinding weights after each",
        "                   round",
    ]


def test_without_room_below_the_last_column_it_has_lines_of_its_own() -> None:
    assert hanging(LONG, 30) == [
        "  lth   in rounds",
        "      iterative magnitude",
        "      pruning, rewinding",
        "      weights after each round",
    ]


@pytest.mark.parametrize("width", range(20, 90, 7))
def test_no_word_is_lost_or_broken(width: int) -> None:
    pieces = hanging(LONG, width)
    assert " ".join(pieces).split() == LONG.split()
    assert max(map(len, pieces)) <= width


def test_a_word_that_is_longer_than_the_terminal_stays_whole() -> None:
    address = "https://example.org/" + "a" * 40
    assert address in " ".join(hanging(f"  source  see {address} there", 30)).split()
