"""Targets: how they are written, which are refused, and steps towards them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from smc_eval.errors import UsageError
from smc_eval.target import SMC_GRID, Target, matches


def test_the_grid_of_smc_bench_is_exact_and_its_paper_rounds_it() -> None:
    shown = [0.2, 0.36, 0.488, 0.59, 0.672, 0.738, 0.79, 0.832, 0.866, 0.893]
    assert [round(s, 3) for s in SMC_GRID] == pytest.approx(shown, abs=6e-4)
    assert SMC_GRID[2] == 1 - 0.8**3


def test_a_number_and_a_pattern_are_parsed() -> None:
    assert Target.parse("0.9") == Target(sparsity=0.9)
    assert Target.parse("2:4", distribution="erk") == Target(
        sparsity=0.5, pattern="2:4", distribution="uniform"
    )
    assert Target.parse("1:8").sparsity == 7 / 8
    assert Target.parse("2:4").group == (2, 4)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("1", r"outside \[0, 1\)"),
        ("-0.1", r"outside \[0, 1\)"),
        ("nan", r"outside \[0, 1\)"),
        ("90%", "neither a number nor a pattern"),
        ("2:", "not an N:M pattern"),
        ("0:4", "not an N:M pattern"),
        ("4:4", "N must be below M"),
        ("a:b", "not an N:M pattern"),
    ],
)
def test_other_texts_are_refused(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Target.parse(word)


def test_a_pattern_that_contradicts_the_sparsity_is_refused() -> None:
    with pytest.raises(ValidationError, match="0.5 sparse"):
        Target(sparsity=0.9, pattern="2:4", distribution="uniform")


@pytest.mark.parametrize(
    ("word", "sparsity", "at"),
    [
        ("2:4", 0.5, "2:4"),
        ("2:4", 0.49, "3:4"),  # 2:4 would be sparser than requested
        ("2:4", 0.25, "3:4"),
        ("2:4", 0.1, "free"),  # 4:4 is no pattern: dense
        ("2:4", 0.0, "free"),
        ("1:8", 0.7, "3:8"),
        ("1:4", 2 / 3, "2:4"),
    ],
)
def test_a_step_towards_a_pattern_is_the_sparsest_pattern_that_is_not_sparser(
    word: str, sparsity: float, at: str
) -> None:
    step = Target.parse(word, scope="all-2d").at(sparsity)
    assert (step.pattern, step.scope) == (at, "all-2d")
    assert step.sparsity <= sparsity + 1e-9
    assert at != "free" or step.sparsity == 0


def test_a_step_towards_a_sparsity_changes_nothing_else() -> None:
    target = Target(sparsity=0.9, distribution="erk", scope="all-2d")
    assert target.at(0.3) == Target(sparsity=0.3, distribution="erk", scope="all-2d")


def test_the_density_of_patterns_never_rises_on_the_way() -> None:
    densities = [Target.parse("1:8").at(number / 100).density for number in range(88)]
    assert densities == sorted(densities, reverse=True) and densities[0] == 1.0


def test_a_pattern_has_a_fixed_distribution() -> None:
    assert Target.parse("2:4").with_distribution("erk") == Target.parse("2:4")
    assert Target(sparsity=0.5).with_distribution("erk") == Target(sparsity=0.5, distribution="erk")


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("*.query.weight", True),
        ("*.query", True),  # the module's name
        ("layer.[01].*", True),
        ("query", False),  # a glob matches the whole name
        ("re:.*(query|key)", True),
        ("re:query", False),  # a regular expression matches from the start
    ],
)
def test_a_pattern_matches_the_name_of_a_parameter_or_of_its_module(pattern: str, *, matching: bool) -> None:
    assert matches("layer.0.query.weight", [pattern]) is matching
    assert matches("layer.0.query.weight", ["nothing", pattern]) is matching


def test_an_invalid_regular_expression_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"'re:\(' is not a valid regular expression"):
        Target(include=("re:(",))
