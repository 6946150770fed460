"""Targets: what may be asked for, and how it is written."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from smc_eval.errors import UsageError
from smc_eval.target import SMC_GRID, Target


def test_the_papers_grid_is_exact_and_shown_rounded() -> None:
    shown = [0.2, 0.36, 0.488, 0.59, 0.672, 0.738, 0.79, 0.832, 0.866, 0.893]
    assert [round(s, 3) for s in SMC_GRID] == pytest.approx(shown, abs=6e-4)
    assert SMC_GRID[2] == 1 - 0.8**3


def test_a_number_and_a_pattern_are_read() -> None:
    assert Target.parse("0.9") == Target(sparsity=0.9)
    assert Target.parse("2:4", distribution="erk") == Target(
        sparsity=0.5, pattern="2:4", distribution="uniform"
    )
    assert Target.parse("1:8").sparsity == 7 / 8
    assert Target.parse("2:4").group == (2, 4)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("1", r"outside \[0, 1\)"),
        ("-0.1", r"outside \[0, 1\)"),
        ("nan", r"outside \[0, 1\)"),
        ("90%", "neither a number nor a pattern"),
        ("2:", "no N:M pattern"),
        ("0:4", "no N:M pattern"),
        ("4:4", "N must be below M"),
        ("a:b", "no N:M pattern"),
    ],
)
def test_what_is_no_target_is_refused_in_words(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Target.parse(word)


def test_a_pattern_that_contradicts_its_sparsity_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="0.5 sparse"):
        Target(sparsity=0.9, pattern="2:4", distribution="uniform")


@pytest.mark.parametrize(
    ("word", "sparsity", "at"),
    [
        ("2:4", 0.5, "2:4"),
        ("2:4", 0.49, "3:4"),  # 2:4 would be sparser than asked
        ("2:4", 0.25, "3:4"),
        ("2:4", 0.1, "free"),  # 4:4 is no pattern: dense
        ("2:4", 0.0, "free"),
        ("1:8", 0.7, "3:8"),
        ("1:4", 2 / 3, "2:4"),
    ],
)
def test_on_the_way_to_a_pattern_stands_the_sparsest_of_its_groups_that_is_no_sparser(
    word: str, sparsity: float, at: str
) -> None:
    made = Target.parse(word, scope="all-2d").at(sparsity)
    assert (made.pattern, made.scope) == (at, "all-2d")
    assert made.sparsity <= sparsity + 1e-9
    assert at != "free" or made.sparsity == 0


def test_on_the_way_to_a_sparsity_everything_else_stays() -> None:
    target = Target(sparsity=0.9, distribution="erk", scope="all-2d")
    assert target.at(0.3) == Target(sparsity=0.3, distribution="erk", scope="all-2d")


def test_patterns_on_the_way_only_ever_lose_survivors() -> None:
    kept = [Target.parse("1:8").at(number / 100).density for number in range(88)]
    assert kept == sorted(kept, reverse=True) and kept[0] == 1.0


def test_a_pattern_leaves_no_choice_of_spread() -> None:
    assert Target.parse("2:4").with_distribution("erk") == Target.parse("2:4")
    assert Target(sparsity=0.5).with_distribution("erk") == Target(sparsity=0.5, distribution="erk")
