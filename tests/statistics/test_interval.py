"""Intervals: by hand, against the bootstrap, and their coverage."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.statistics import Sample, interval, over_seeds
from smc_eval.statistics.estimate import Estimate, estimate_sample
from smc_eval.statistics.interval import Interval
from smc_eval.statistics.sample import ends_of
from smc_eval.statistics.student import quantile
from smc_eval.testing import record_with


def test_seeds_without_items_have_students_interval() -> None:
    found = over_seeds([70.0, 72.0, 74.0])
    assert found is not None and found.over == "3 seeds (t)"
    assert found.half == pytest.approx(4.30265 * 2 / 3**0.5, abs=1e-4) and found.low + found.high == 144


@pytest.mark.parametrize(
    ("rows", "kind", "value"),
    [
        ([[[1, 10], [2, 20], [3, 30]]], "rank", 1.0),  # perfect
        ([[[1, 30], [2, 20], [3, 10]]] * 2, "rank", -1.0),  # perfectly wrong, twice
        ([[[5, 10], [5, 20], [5, 30]]], "rank", 0.0),  # a constant prediction
        ([[[9, 8, 7, 6, 9, 8, 7, 6, 9, 9], [5, 4, 3, 2, 5, 4, 3, 2, 5, 5]]], "bleu", 100.0),
        ([[[0, 0, 0, 0, 9, 8, 7, 6, 9, 9], [0, 0, 0, 0, 5, 4, 3, 2, 5, 5]]], "bleu", 0.0),
        ([[2.5, 2.5, 2.5], [2.5, 2.5, 2.5]], "mean", 2.5),
    ],
)
@pytest.mark.parametrize("resamples", [None, 100])
def test_where_nothing_varies_there_is_no_interval(sample, rows, kind, value, resamples) -> None:
    made = sample(rows, kind=kind)
    assert made.value() == pytest.approx(value) and interval(made, resamples) is None


def test_seeds_with_one_score_and_no_items_have_no_interval() -> None:
    assert over_seeds([70.0, 70.0]) is None
    assert over_seeds([0.1 + 0.2, 0.3]) is None  # equal but for rounding


@pytest.mark.parametrize("right", [0, 1])
def test_a_bootstrap_of_equal_answers_has_wilsons_interval(sample, right: int) -> None:
    made = sample([[100.0 * right] * 20])
    assert interval(made, resamples=100) == interval(made) is not None


def test_an_interval_of_seeds_stays_within_the_range_of_its_score() -> None:
    found = over_seeds([98.0, 100.0], ends=(0.0, 100.0))
    assert found is not None and found.high == 100.0
    assert found.low == pytest.approx(99 - 12.7062, abs=1e-3)
    wide = over_seeds([98.0, 100.0])
    assert wide is not None and wide.high == pytest.approx(99 + 12.7062, abs=1e-3)


@pytest.mark.parametrize(
    ("metric", "ends"),
    [
        ("accuracy (%)", (0.0, 100.0)),
        ("BLEU", (0.0, 100.0)),
        ("Spearman's rho", (-1.0, 1.0)),
        ("loss", (-math.inf, math.inf)),
    ],
)
def test_the_range_of_a_score_follows_from_its_metric(metric: str, ends: tuple[float, float]) -> None:
    score = record_with().score
    assert score is not None
    records = [replace(record_with(), score=replace(score, metric=metric, value=0.5))]
    assert ends_of(records) == Sample.of_seeds({0: 1.0}, ends_of(records)).range == ends


@pytest.mark.parametrize(
    ("metric", "value"), [("BLEURT", 0.3), ("accuracy gain (%)", -2.0), ("rank loss", 3.0)]
)
def test_a_score_that_is_named_like_another_has_no_range(metric: str, value: float) -> None:
    score = record_with().score
    assert score is not None
    record = replace(record_with(), score=replace(score, metric=metric, value=value))
    assert ends_of([record]) == (-math.inf, math.inf)


def test_one_seed_without_items_has_no_interval() -> None:
    assert over_seeds([70.0]) is None and interval(Sample.of_seeds({0: 70.0})) is None


def test_one_seed_has_the_interval_of_its_items(sample) -> None:
    found = interval(sample([[1.0, 2.0, 3.0, 6.0]]))
    assert found is not None and found.over == "4 items of one seed"
    assert found.half == pytest.approx(quantile(0.95, 3) * math.sqrt(14 / 3 / 4))
    assert 3.0 in found and found.low + found.high == pytest.approx(6.0)


def test_the_variance_is_that_of_a_crossed_analysis(sample) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 50)) + np.linspace(0, 5, 50) + np.array([[0], [1], [2]])
    found = estimate_sample(sample(rows))
    between = 50 * rows.mean(axis=1).var(ddof=1)
    items = 3 * rows.mean(axis=0).var(ddof=1)
    rest = rows - rows.mean(axis=0) - rows.mean(axis=1, keepdims=True) + rows.mean()
    residual = (rest**2).sum() / (2 * 49)
    assert found.variance == pytest.approx((between + items - residual) / 150)


def test_the_label_gives_seeds_and_items(sample) -> None:
    found = interval(sample(np.random.default_rng(0).normal(size=(3, 1221))))
    assert found is not None and found.over == "3 seeds × 1,221 items"


def test_only_items_within_groups_vary(sample) -> None:
    apart = sample([[0.0, 0.0, 0.0, 9.0, 9.0, 9.0]], groups=[0, 0, 0, 1, 1, 1])
    assert estimate_sample(apart).variance == 0 and interval(apart) is None
    near = interval(sample([[0.0, 0.0, 0.3, 9.0, 9.0, 9.3]], groups=[0, 0, 0, 1, 1, 1]))
    # each group's mean has the variance 0.03 / 3; the sum of two means over 2
    error = (2 * 0.03 / 3) ** 0.5 / 2
    assert near is not None and near.half == pytest.approx(quantile(0.95, 5) * error)


@pytest.mark.parametrize(
    ("right", "items", "low", "high"),
    [  # z^2 = 3.8415: 3.8415/13.8415; 0.5 -+ 1.96 root(2.5 + 0.9604)/13.8415; and so on
        (0, 10, 0.0, 27.753),
        (5, 10, 23.659, 76.341),
        (10, 10, 72.247, 100.0),
        (29, 30, 83.330, 99.409),
    ],
)
def test_one_seeds_percentage_has_wilsons_interval(sample, right, items, low, high) -> None:
    found = interval(sample(np.where(np.arange(items) < right, 100.0, 0.0)[None]))
    assert found is not None and (found.low, found.high) == pytest.approx((low, high), abs=1e-3)
    assert 100 * right / items in found and found.low >= 0 and found.high <= 100


def test_seeds_all_right_or_all_wrong_count_as_one_answer_each(sample) -> None:
    found = interval(sample([[100.0] * 50] * 2 + [[0.0] * 50] * 2))
    # Wilson's of 2 in 4 with Student's 3.1824: 0.5 -+ 3.1824 root(4/4 + 3.1824^2/4)/(4 + 3.1824^2)
    assert found is not None and (found.low, found.high) == pytest.approx((7.666, 92.334), abs=1e-3)


def test_an_interval_of_two_seeds_has_the_skew_of_three(sample) -> None:
    found = interval(sample(100.0 * (np.arange(1000) < [[190], [210]]), groups=range(1000)))
    # only seeds vary, by 1: effective size 1 + 0.16/0.01^2, Student's t of one degree 12.706, of two 4.3027
    # so 0.2 + 0.01156/2 -+ root(0.10084 (0.16 + 0.01156/4)), all of it over 1.01156
    assert found is not None and (found.low, found.high) == pytest.approx((7.673, 33.013), abs=1e-3)


def test_two_seeds_one_all_right_and_one_all_wrong_have_the_whole_range(sample) -> None:
    found = interval(sample([[100.0] * 50, [0.0] * 50]))
    assert found is not None and (found.low, found.high) == (0.0, 100.0)


def test_equal_seeds_count_no_more_than_all_their_answers(sample) -> None:
    found = interval(sample(100 * np.eye(3, 10)))  # each has one right in ten, on different items
    assert found is not None and (found.low, found.high) == pytest.approx(
        (3.460, 25.621), abs=1e-3
    )  # 3 in 30


def test_nets_with_no_right_answer_have_an_interval_above_zero(sample) -> None:
    single, three = interval(sample(np.zeros((1, 1221)))), interval(sample(np.zeros((3, 1221))))
    assert single is not None and three is not None
    exact = 100 * (1 - 0.025 ** (1 / 1221))  # Clopper & Pearson (1934): 0.302 %
    assert single.low == three.low == 0 and single.high == pytest.approx(exact, rel=0.05)
    assert three.high == single.high  # items that all nets miss say little about other nets


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 12))
def test_the_interval_of_wrong_answers_mirrors_that_of_right_ones(draw: int, seeds: int, items: int) -> None:
    rows = 100.0 * np.random.default_rng(draw).integers(0, 2, (seeds, items, 1))
    right, wrong = (
        interval(Sample("mean", answers, np.zeros(items, int), np.ones(1), tuple(range(seeds))))
        for answers in (rows, 100 - rows)
    )
    assert right is not None and wrong is not None and rows.mean() in right
    assert (right.low, right.high) == pytest.approx((100 - wrong.high, 100 - wrong.low), abs=1e-9)


def test_an_interval_of_a_correlation_ends_at_1(sample) -> None:
    rho = interval(sample([[[1, 1], [2, 2], [3, 3], [4, 4], [6, 5], [5, 6]]], kind="rank"))
    assert rho is not None and rho.high == 1.0 and rho.low < 34 / 35


def test_seeds_with_equal_scores_still_have_a_variance() -> None:
    found = Estimate(70.0, seeds=3, items=1000, between=0.0, shared=0.0, own=1.0)
    assert found.variance == pytest.approx(
        0.0253 / 3, rel=0.02
    )  # chi-square of 2, its 0.025 quantile, over 2


def kinds() -> dict[str, Sample]:
    rng = np.random.default_rng(5)
    items, seeds = rng.normal(size=200), rng.normal(size=(3, 1))
    answers = np.where(0.2 * seeds + items + rng.normal(size=(3, 200)) > -0.5, 100.0, 0.0)
    predicted = items + (1 + 0.2 * seeds) * rng.normal(size=(3, 200))
    odds = 1 / (1 + np.exp(-0.4 * items[:, None] - 0.1 * seeds[:, None] - np.array([0.4, 0.0, -0.4, -0.8])))
    words = rng.integers(5, 30, 200)[:, None]
    ngrams = np.broadcast_to(words - np.arange(4), (3, 200, 4))
    both = np.broadcast_to(np.hstack([words, words + 1]), (3, 200, 2))
    rows = {
        "mean": answers[..., None],
        "rank": np.stack([predicted, np.broadcast_to(items, predicted.shape)], axis=2),
        "bleu": np.concatenate([rng.binomial(ngrams, odds), ngrams, both], axis=2).astype(float),
    }
    return {
        kind: Sample(kind, rows_SNK, np.arange(200) % 2, np.ones(2), (0, 1, 2))
        for kind, rows_SNK in rows.items()
    }


@pytest.mark.parametrize("kind", ["mean", "rank", "bleu"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_closed_form_and_bootstrap_agree(kind: str, seeds: int) -> None:
    sample = kinds()[kind].only(range(seeds))
    closed, drawn = interval(sample), interval(sample, resamples=8000)
    assert closed is not None and drawn is not None and closed.over == drawn.over
    assert (drawn.low, drawn.high) == pytest.approx((closed.low, closed.high), abs=0.13 * closed.half)


def test_the_bootstrap_depends_on_its_seed_alone() -> None:
    sample = kinds()["mean"]
    assert interval(sample, 500, seed=1) == interval(sample, 500, seed=1) != interval(sample, 500, seed=2)


@pytest.mark.parametrize("items_are", ["numbers", "right or wrong"])
@given(draw=st.integers(0, 10**6), seeds=st.integers(1, 5), items=st.integers(2, 30))
def test_a_higher_level_is_a_wider_interval_around_the_value(
    draw: int, seeds: int, items: int, items_are: str
) -> None:
    rows = np.random.default_rng(draw).normal(size=(seeds, items, 1))
    rows = np.where(rows > 0.5, 100.0, 0.0) if items_are == "right or wrong" else rows
    sample = Sample("mean", rows, np.zeros(items, int), np.ones(1), tuple(range(seeds)))
    narrow, wide = interval(sample, level=0.8), interval(sample, level=0.99)
    assert narrow is not None and wide is not None
    assert wide.low <= narrow.low <= sample.value() <= narrow.high <= wide.high


@pytest.mark.parametrize(
    ("seeds", "right", "seed_effect", "items"),
    [(1, 0.7, 0.0, 200), (3, 0.7, 0.2, 200), (5, 0.7, 0.2, 200), (3, 0.01, 0.36, 1200)],
)
def test_intervals_cover_the_truth_at_their_level(
    seeds: int, right: float, seed_effect: float, items: int
) -> None:
    rng, covered, trials = np.random.default_rng(seeds), 0, 800
    skill = NormalDist().inv_cdf(right) * math.sqrt(2 + seed_effect**2)
    for _ in range(trials):  # right where skill + seed + item + noise is above zero
        latent_SN = skill + seed_effect * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, items))
        rows = np.where(latent_SN + rng.normal(size=items) > 0, 100.0, 0.0)[..., None]
        found = interval(Sample("mean", rows, np.zeros(items, int), np.ones(1), tuple(range(seeds))))
        covered += found is not None and 100 * right in found
    assert covered / trials == pytest.approx(0.95, abs=0.03)  # the trials alone vary by 0.023


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.25, 0.5, "0.250 to 0.500"),
        (0.25, math.inf, "0.250 or more"),
        (-math.inf, 0.5, "0.500 or less"),
        (-math.inf, math.inf, ""),
    ],
)
def test_an_end_that_is_not_known_is_not_written(low: float, high: float, text: str) -> None:
    made = Interval(low, high, 0.95, "3 seeds (t)")
    assert made.ends(".3f") == text
    assert made.finite == (text == "0.250 to 0.500")
