"""Curves: crossings written out, never extrapolated, and found where they are."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import UsageError
from smc_eval.statistics import Curve, Sample, curve, retained, suite
from smc_eval.statistics.curve import falling

GRID = tuple(1 - 0.8**step for step in range(1, 11))


def test_shares_are_told_by_sparsity_from_low_to_high() -> None:
    assert Curve(80.0, {0.9: 35.0, 0.5: 65.0}, chance=20.0).shares == pytest.approx((0.75, 0.25))


@pytest.mark.parametrize(
    ("score", "dense", "chance", "higher", "share"),
    [
        (60.0, 80.0, 20.0, True, 2 / 3),
        (80.0, 80.0, 20.0, True, 1.0),
        (10.0, 80.0, 20.0, True, -1 / 6),
        (90.0, 80.0, 20.0, True, 7 / 6),
        (3.0, 2.0, 6.0, False, 0.75),  # an error that may rise by one from 2 to 3 where a guess has 6
        (7.0, 2.0, 6.0, False, -0.25),
    ],
)
def test_shares_are_of_what_the_dense_net_has_above_chance(score, dense, chance, higher, share) -> None:
    assert float(retained(score, dense, chance, higher=higher)) == pytest.approx(share)
    assert Curve(dense, {0.5: score}, chance, higher).shares == pytest.approx((share,))


@pytest.mark.parametrize(("dense", "higher"), [(20.0, True), (19.0, True), (21.0, False)])
def test_of_a_dense_net_that_guesses_nothing_can_be_kept(dense, higher) -> None:
    assert math.isnan(retained(30.0, dense, 20.0, higher=higher))
    assert math.isnan(Curve(dense, {0.5: 30.0}, 20.0, higher).shares[0])


def test_a_crossing_is_halfway_in_the_logarithm_of_density() -> None:
    curve = Curve(100.0, {0.2: 100.0, 0.5: 96.0, 0.875: 94.0})
    kept = curve.sparsity_at(0.95)
    assert kept is not None and kept.bounded == "within" and kept.interval is None
    assert kept.sparsity == pytest.approx(1 - (0.5 * 0.125) ** 0.5)  # densities 1/2 and 1/8: 1/4
    assert kept.text == "0.75"


def test_what_is_beyond_the_grid_is_said_and_not_guessed() -> None:
    above = Curve(100.0, {0.2: 99.0, 0.893: 97.0}).sparsity_at()
    below = Curve(100.0, {0.2: 90.0, 0.893: 97.0}).sparsity_at(0.99)
    assert above is not None and below is not None
    assert (above.bounded, above.sparsity, above.text) == ("above", 0.893, "≥ 0.893")
    assert (below.bounded, below.sparsity, below.text) == ("below", 0.2, "< 0.2")


def test_one_measured_sparsity_bounds_from_one_side() -> None:
    for score, bounded in ((96.0, "above"), (94.0, "below")):
        kept = Curve(100.0, {0.5: score}).sparsity_at()
        assert kept is not None and (kept.bounded, kept.sparsity) == (bounded, 0.5)


def test_scores_that_rise_again_are_pooled() -> None:
    kept = Curve(100.0, {0.2: 100.0, 0.5: 94.0, 0.6: 98.0, 0.8: 80.0}).sparsity_at(0.95)
    flat = Curve(100.0, {0.2: 100.0, 0.5: 96.0, 0.6: 96.0, 0.8: 80.0}).sparsity_at(0.95)
    assert kept is not None and flat is not None and kept.sparsity == pytest.approx(flat.sparsity)


def test_a_dense_net_no_better_than_chance_keeps_nothing_that_could_be_told() -> None:
    curve = Curve(20.0, {0.5: 20.0}, chance=20.0)
    assert curve.sparsity_at() is None
    assert math.isnan(curve.area().value) and curve.area().interval is None


@pytest.mark.parametrize("points", [{}, {0.0: 1.0}, {0.5: 1.0, 1.0: 0.0}])
def test_sparsities_of_no_sparse_net_are_refused(points: dict[float, float]) -> None:
    with pytest.raises(UsageError, match="a curve needs sparsities above 0 and below 1, and has "):
        Curve(100.0, points)


@given(st.lists(st.floats(-1, 2), min_size=1, max_size=9))
def test_the_falling_fit_never_rises_and_is_nearest(shares: list[float]) -> None:
    fitted = falling(np.array(shares)[:, None])[:, 0]
    assert (np.diff(fitted) <= 1e-9).all() and fitted.sum() == pytest.approx(sum(shares), abs=1e-9)
    blocks: list[tuple[float, int]] = []  # pool adjacent violators, another way to it
    for share in shares:
        total, count = share, 1
        while blocks and blocks[-1][0] / blocks[-1][1] <= total / count:
            before, many = blocks.pop()
            total, count = total + before, count + many
        blocks.append((total, count))
    pooled = [total / count for total, count in blocks for _ in range(count)]
    assert fitted == pytest.approx(pooled, abs=1e-9)


def test_an_area_is_the_mean_over_the_logarithm_of_density() -> None:
    curve = Curve(100.0, {0.5: 100.0, 0.75: 80.0, 0.9375: 0.0})  # densities 1/2, 1/4, 1/16
    assert curve.area().value == pytest.approx((0.9 * 1 + 0.4 * 2) / 3)
    assert curve.area(over=(0.5, 0.75)).value == pytest.approx(0.9)
    assert curve.area(over=(0.75, 0.875)).value == pytest.approx((0.8 + 0.4) / 2)


@pytest.mark.parametrize("over", [(0.4, 0.75), (0.5, 0.99), (0.7, 0.6), (0.6, 0.6)])
def test_no_area_reaches_beyond_what_was_measured(over: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="no area over sparsities .*: 0.5 to 0.75 were measured"):
        Curve(100.0, {0.5: 90.0, 0.75: 80.0}).area(over=over)


def test_a_suite_counts_each_task_the_same_over_what_all_measured() -> None:
    one, other = Curve(100.0, {0.5: 90.0, 0.75: 70.0}), Curve(1.0, {0.2: 1.0, 0.5: 1.0, 0.75: 1.0})
    found = suite([one, other])
    assert found.value == pytest.approx((0.8 + 1.0) / 2)
    assert (found.over, found.tasks, found.interval) == ((0.5, 0.75), 2, None)
    with pytest.raises(UsageError, match="at least one curve"):
        suite([])


def cliff(sparsity: float, half: float = 0.8, steep: float = 6.0) -> float:
    """Half is kept at `half`; logistic in the logarithm of density."""
    whole = 1 / (1 + (1 - half) ** steep)
    return 1 / (1 + ((1 - half) / (1 - sparsity)) ** steep) / whole


def drawn(chance: np.random.Generator, seeds: int, items: int, differ: float) -> Curve:
    """Answers to the same items by nets that are right as often as a cliff says."""
    item_N, both_S = chance.normal(size=items), differ * chance.normal(size=(seeds, 1))
    samples = []
    for sparsity in (0.0, *GRID):
        skill = NormalDist().inv_cdf(0.2 + 0.55 * cliff(sparsity)) * math.sqrt(2 + 2 * differ**2)
        own_S = both_S + differ * chance.normal(size=(seeds, 1))
        rows = np.where(skill + own_S + item_N + chance.normal(size=(seeds, items)) > 0, 100.0, 0.0)
        samples.append(Sample("mean", rows[..., None], np.zeros(items, int), np.ones(1), tuple(range(seeds))))
    return Curve(samples[0], dict(zip(GRID, samples[1:], strict=True)), chance=20.0)


TRUTH = 0.6733
"""Where that cliff keeps 95 % of what it has when dense."""


def test_the_truth_of_the_next_tests_is_true() -> None:
    assert cliff(TRUTH) == pytest.approx(0.95, abs=2e-4) and cliff(0.8) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_cliff_is_found_within_its_interval_as_often_as_it_says(seeds: int) -> None:
    chance, held, trials = np.random.default_rng(seeds), 0, 200
    for trial in range(trials):
        kept = drawn(chance, seeds, 400, 0.04 * (seeds > 1)).sparsity_at(resamples=400, seed=trial)
        assert kept is not None and kept.interval is not None
        held += TRUTH in kept.interval
    assert held / trials >= 0.9


def test_with_many_items_a_cliff_is_found_closely() -> None:
    kept = drawn(np.random.default_rng(1), 3, 20_000, 0.0).sparsity_at(0.95, resamples=500)
    assert kept is not None and kept.interval is not None
    assert kept.sparsity == pytest.approx(TRUTH, abs=0.03) and kept.interval.high - kept.interval.low < 0.15
    assert kept.interval.over == "3 seeds × 20,000 items"


def test_an_interval_that_leaves_the_grid_says_so_by_its_end() -> None:
    flat = Curve(Sample.of_seeds({0: 80.0, 1: 82.0}), {0.5: Sample.of_seeds({0: 80.0, 1: 81.9})})
    kept = flat.sparsity_at(0.9)
    assert kept is not None and kept.interval is not None
    assert kept.bounded == "above" and kept.interval.high == 1.0 and kept.interval.low in {0.0, 0.5}


def test_points_that_get_nothing_right_leave_the_crossing_as_sure_as_it_was() -> None:
    found = drawn(np.random.default_rng(3), 3, 400, 0.1)
    dense, points = found.dense, {at: found.points[at] for at in GRID[:8]}
    nothing = Sample("mean", np.zeros((3, 400, 1)), np.zeros(400, int), np.ones(1), (0, 1, 2))
    one, many = (
        Curve(dense, points | dict.fromkeys(far, nothing)).sparsity_at(0.6, resamples=500)
        for far in ((0.9,), (0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99))
    )
    assert one is not None and one.interval is not None and many is not None and many.interval is not None
    ends = one.interval.low, one.interval.high
    assert (many.interval.low, many.interval.high) == pytest.approx(ends, abs=1e-9)


def test_areas_of_the_same_items_are_surer_than_their_points() -> None:
    curve = drawn(np.random.default_rng(2), 1, 400, 0.0)
    area = curve.area(resamples=800)
    assert area.interval is not None and area.value in area.interval and area.interval.half < 0.06


def test_what_is_asked_of_one_curve_comes_of_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(*words: object, **more: object) -> object:
        made.append(words)
        return drawn(*words, **more)

    drawn = curve.draws
    monkeypatch.setattr(curve, "draws", counted)
    two = {at: Sample.of_seeds({0: value, 1: value + 1}) for at, value in ((0.2, 90.0), (0.5, 80.0))}
    found = Curve(Sample.of_seeds({0: 99.0, 1: 100.0}), two)
    first = found.sparsity_at(0.95), found.sparsity_at(0.99), found.area()
    assert len(made) == 1
    assert first == (found.sparsity_at(0.95), found.sparsity_at(0.99), found.area())
    found.area(seed=1)
    assert len(made) == 2
