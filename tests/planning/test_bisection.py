"""Bisection: brackets that close on the sparsity at which a score falls."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import SmcError
from smc_eval.planning.bisection import Bisection, Bracket
from smc_eval.statistics import retained

S95 = Bisection(share=0.95)


def closed(search: Bisection, keeps: Callable[[float], bool]) -> Bracket:
    """The bracket at the end of a search."""
    bracket = Bracket(search)
    while (sparsity := bracket.next_sparsity()) is not None:
        bracket = bracket.with_outcome(sparsity, keeps=keeps(sparsity))
    return bracket


def test_a_bracket_is_halved_in_log_density() -> None:
    bracket = Bracket(Bisection(share=0.95, low=0.36, high=0.99))
    assert bracket.next_sparsity() == 0.92  # 0.08 = sqrt(0.64 * 0.01)
    assert bracket.with_outcome(0.92, keeps=False).next_sparsity() == 0.7737  # 0.2263 = sqrt(0.64 * 0.08)
    assert bracket.with_outcome(0.92, keeps=True).next_sparsity() == 0.9717  # 0.0283 = sqrt(0.08 * 0.01)


@given(crossing=st.floats(0.051, 0.989), within=st.floats(0.001, 0.3))
def test_the_crossing_of_a_falling_score_lies_in_the_bracket(crossing: float, within: float) -> None:
    search = Bisection(share=0.95, within=within)
    bracket = closed(search, lambda sparsity: sparsity <= crossing)
    low = search.low if bracket.keeps is None else bracket.keeps
    high = search.high if bracket.loses is None else bracket.loses
    assert low <= crossing <= high
    assert high - low <= within
    assert len(bracket.tried) <= search.most_runs()


@given(depth=st.floats(0.5, 40), half=st.floats(0.1, 0.98))
def test_the_sparsity_that_keeps_a_share_of_a_smooth_curve_is_found(depth: float, half: float) -> None:
    def score(sparsity: float) -> float:
        return 20 + 60 / (1 + math.exp(depth * (sparsity - half)))

    dense, share = score(0), 0.9
    wanted = half + math.log((60 / (share * (dense - 20))) - 1) / depth
    bracket = closed(Bisection(share=share), lambda sparsity: retained(score(sparsity), dense, 20) >= share)
    if 0.05 < wanted < 0.99:
        assert bracket.keeps is None or bracket.keeps <= wanted
        assert bracket.loses is None or wanted <= bracket.loses
    else:
        assert bracket.text == ("< 0.05" if wanted < 0.05 else "≥ 0.99")


@given(seed=st.integers(0, 2**32), noise=st.floats(0, 1), within=st.floats(0.002, 0.2))
def test_with_any_noise_both_ends_were_measured_and_no_sparsity_is_tried_twice(
    seed: int, noise: float, within: float
) -> None:
    chance, seen = random.Random(seed), dict[float, bool]()

    def keeps(sparsity: float) -> bool:
        assert sparsity not in seen
        seen[sparsity] = sparsity + chance.gauss(0, noise) < 0.7
        return seen[sparsity]

    search = Bisection(share=0.95, within=within)
    bracket = closed(search, keeps)
    assert bracket.keeps is None or seen[bracket.keeps]
    assert bracket.loses is None or not seen[bracket.loses]
    if bracket.keeps is None:
        assert bracket.loses == search.low
    elif bracket.loses is None:
        assert bracket.keeps == search.high
    else:
        assert 0 < bracket.loses - bracket.keeps <= within


def test_small_noise_moves_the_result_little() -> None:
    chance = random.Random(0)
    answers = [
        closed(S95, lambda s: 1 - 0.1 * s / 0.8 + chance.gauss(0, 0.002) >= 0.95).keeps for _ in range(200)
    ]
    # the curve falls by 0.00125 for each 0.01: 0.08 covers the bracket and about five deviations
    assert all(answer is not None and abs(answer - 0.4) < 0.08 for answer in answers)


def test_a_crossing_outside_the_first_bracket_is_a_bound() -> None:
    always, never = closed(S95, lambda _: True), closed(S95, lambda _: False)
    assert (always.text, always.keeps, always.loses) == ("≥ 0.99", 0.99, None)
    assert (never.text, never.keeps, never.loses) == ("< 0.05", None, 0.05)
    assert closed(S95, lambda s: s < 0.8).text == "0.7943"


def test_a_search_ends_after_its_number_of_runs() -> None:
    search = Bisection(share=0.95, runs=2)
    assert search.most_runs() == 2
    bracket = closed(search, lambda s: s < 0.95)
    assert (bracket.keeps, bracket.loses, bracket.text) == (0.9025, 0.9688, "0.9025")
    assert closed(search, lambda _: False).text == "< 0.6957"
    assert Bracket(search).text == "–"


def test_the_largest_number_of_runs_is_that_of_the_worst_curve() -> None:
    counts = [len(closed(S95, lambda s, at=at: s < at / 1000).tried) for at in range(1001)]
    assert max(counts) == S95.most_runs() == 10
    assert min(counts) >= 4


def test_upcoming_sparsities_are_those_of_the_next_rounds() -> None:
    assert list(Bracket(S95).upcoming(2)) == [0.9025, 0.9688, 0.6957]
    assert list(closed(S95, lambda _: True).upcoming(3)) == []


def test_the_label_of_a_search_is_what_was_typed() -> None:
    assert Bisection.parse("s@95") == S95
    assert Bisection.parse("s@90.5:within=0.02,runs=6") == Bisection(share=0.905, within=0.02, runs=6)
    assert Bisection.parse("s@90.5").label == "s@90.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("95", "--find '95' cannot be read; write s@95"),
        ("s@", "--find 's@' cannot be read"),
        ("s@0", "--find 's@0' cannot be read"),
        ("s@101", "--find 's@101' cannot be read"),
        ("s@95:whithin=1", "no option of --find s@95 is named 'whithin'; did you mean 'within'"),
        ("s@95:within=0", "'within' of --find s@95 is '0'"),
        ("s@95:within", "--find 'within' is not of the form key=value"),
        ("s@95:low=0.9,high=0.8", "the bracket from 0.9 to 0.8 is narrower than within=0.01"),
    ],
)
def test_a_wrong_search_is_refused(text: str, message: str) -> None:
    with pytest.raises(SmcError, match=message):
        Bisection.parse(text)
