"""Curves: crossings by hand, no extrapolation, and intervals with the true crossing."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import UsageError
from smc_eval.statistics import Curve, Sample, curve, retained, suite
from smc_eval.statistics.curve import isotonic

GRID = tuple(1 - 0.8**step for step in range(1, 11))


def test_shares_are_in_the_order_of_sparsity() -> None:
    assert Curve(80.0, {0.9: 35.0, 0.5: 65.0}, chance=20.0).shares == pytest.approx((0.75, 0.25))


@pytest.mark.parametrize(
    ("score", "dense", "chance", "higher", "share"),
    [
        (60.0, 80.0, 20.0, True, 2 / 3),
        (80.0, 80.0, 20.0, True, 1.0),
        (10.0, 80.0, 20.0, True, -1 / 6),
        (90.0, 80.0, 20.0, True, 7 / 6),
        (3.0, 2.0, 6.0, False, 0.75),  # an error rate: dense 2, chance 6
        (7.0, 2.0, 6.0, False, -0.25),
    ],
)
def test_a_share_is_of_the_dense_score_above_chance(score, dense, chance, higher, share) -> None:
    assert float(retained(score, dense, chance, higher=higher)) == pytest.approx(share)
    assert Curve(dense, {0.5: score}, chance, higher).shares == pytest.approx((share,))


@pytest.mark.parametrize(("dense", "higher"), [(20.0, True), (19.0, True), (21.0, False)])
def test_a_dense_net_no_better_than_chance_has_no_shares(dense, higher) -> None:
    assert math.isnan(retained(30.0, dense, 20.0, higher=higher))
    assert math.isnan(Curve(dense, {0.5: 30.0}, 20.0, higher).shares[0])


def test_a_crossing_is_interpolated_in_the_logarithm_of_density() -> None:
    curve = Curve(100.0, {0.2: 100.0, 0.5: 96.0, 0.875: 94.0})
    crossing = curve.sparsity_at(0.95)
    assert crossing is not None and crossing.bounded == "within" and crossing.interval is None
    assert crossing.sparsity == pytest.approx(1 - (0.5 * 0.125) ** 0.5)  # densities 1/2 and 1/8: 1/4
    assert crossing.text == "0.75"


def test_a_crossing_outside_the_grid_is_a_bound() -> None:
    above = Curve(100.0, {0.2: 99.0, 0.893: 97.0}).sparsity_at()
    below = Curve(100.0, {0.2: 90.0, 0.893: 97.0}).sparsity_at(0.99)
    assert above is not None and below is not None
    assert (above.bounded, above.sparsity, above.text) == ("above", 0.893, "≥ 0.893")
    assert (below.bounded, below.sparsity, below.text) == ("below", 0.2, "< 0.2")


def test_one_measured_sparsity_gives_a_bound() -> None:
    for score, bounded in ((96.0, "above"), (94.0, "below")):
        crossing = Curve(100.0, {0.5: score}).sparsity_at()
        assert crossing is not None and (crossing.bounded, crossing.sparsity) == (bounded, 0.5)


def test_scores_that_rise_with_sparsity_are_pooled() -> None:
    crossing = Curve(100.0, {0.2: 100.0, 0.5: 94.0, 0.6: 98.0, 0.8: 80.0}).sparsity_at(0.95)
    flat = Curve(100.0, {0.2: 100.0, 0.5: 96.0, 0.6: 96.0, 0.8: 80.0}).sparsity_at(0.95)
    assert crossing is not None and flat is not None and crossing.sparsity == pytest.approx(flat.sparsity)


def test_a_dense_net_no_better_than_chance_has_no_crossing_and_no_area() -> None:
    curve = Curve(20.0, {0.5: 20.0}, chance=20.0)
    assert curve.sparsity_at() is None
    assert math.isnan(curve.area().value) and curve.area().interval is None


@pytest.mark.parametrize("points", [{}, {0.0: 1.0}, {0.5: 1.0, 1.0: 0.0}])
def test_sparsities_of_0_and_1_and_none_are_refused(points: dict[float, float]) -> None:
    with pytest.raises(UsageError, match="a curve needs sparsities above 0 and below 1, and has "):
        Curve(100.0, points)


@given(st.lists(st.floats(-1, 2), min_size=1, max_size=9))
def test_the_isotonic_fit_never_rises_and_equals_pooling(shares: list[float]) -> None:
    fitted = isotonic(np.array(shares)[:, None])[:, 0]
    assert (np.diff(fitted) <= 1e-9).all() and fitted.sum() == pytest.approx(sum(shares), abs=1e-9)
    blocks: list[tuple[float, int]] = []  # pool adjacent violators, another algorithm
    for share in shares:
        total, count = share, 1
        while blocks and blocks[-1][0] / blocks[-1][1] <= total / count:
            other_total, other_count = blocks.pop()
            total, count = total + other_total, count + other_count
        blocks.append((total, count))
    pooled = [total / count for total, count in blocks for _ in range(count)]
    assert fitted == pytest.approx(pooled, abs=1e-9)


def test_an_area_is_the_mean_over_the_logarithm_of_density() -> None:
    curve = Curve(100.0, {0.5: 100.0, 0.75: 80.0, 0.9375: 0.0})  # densities 1/2, 1/4, 1/16
    assert curve.area().value == pytest.approx((0.9 * 1 + 0.4 * 2) / 3)
    assert curve.area(over=(0.5, 0.75)).value == pytest.approx(0.9)
    assert curve.area(over=(0.75, 0.875)).value == pytest.approx((0.8 + 0.4) / 2)


@pytest.mark.parametrize("over", [(0.4, 0.75), (0.5, 0.99), (0.7, 0.6), (0.6, 0.6)])
def test_an_area_beyond_the_measured_sparsities_is_refused(over: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="no area over sparsities .*: 0.5 to 0.75 were measured"):
        Curve(100.0, {0.5: 90.0, 0.75: 80.0}).area(over=over)


def test_a_suite_is_the_mean_of_tasks_over_their_common_range() -> None:
    first, second = Curve(100.0, {0.5: 90.0, 0.75: 70.0}), Curve(1.0, {0.2: 1.0, 0.5: 1.0, 0.75: 1.0})
    area = suite([first, second])
    assert area.value == pytest.approx((0.8 + 1.0) / 2)
    assert (area.over, area.tasks, area.interval) == ((0.5, 0.75), 2, None)
    with pytest.raises(UsageError, match="at least one curve"):
        suite([])


def cliff(sparsity: float, half: float = 0.8, steep: float = 6.0) -> float:
    """A share that is 0.5 at `half`, logistic in the logarithm of density."""
    whole = 1 / (1 + (1 - half) ** steep)
    return 1 / (1 + ((1 - half) / (1 - sparsity)) ** steep) / whole


def random_curve(rng: np.random.Generator, seeds: int, items: int, seed_effect: float) -> Curve:
    """Answers to the same items by nets whose accuracy follows a cliff."""
    item_N, both_S = rng.normal(size=items), seed_effect * rng.normal(size=(seeds, 1))
    samples = []
    for sparsity in (0.0, *GRID):
        skill = NormalDist().inv_cdf(0.2 + 0.55 * cliff(sparsity)) * math.sqrt(2 + 2 * seed_effect**2)
        own_S = both_S + seed_effect * rng.normal(size=(seeds, 1))
        rows = np.where(skill + own_S + item_N + rng.normal(size=(seeds, items)) > 0, 100.0, 0.0)
        samples.append(Sample("mean", rows[..., None], np.zeros(items, int), np.ones(1), tuple(range(seeds))))
    return Curve(samples[0], dict(zip(GRID, samples[1:], strict=True)), chance=20.0)


TRUTH = 0.6733
"""The sparsity at which that cliff keeps 95 % of the dense score."""


def test_the_true_crossing_of_the_next_tests_is_right() -> None:
    assert cliff(TRUTH) == pytest.approx(0.95, abs=2e-4) and cliff(0.8) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_of_crossings_cover_the_truth(seeds: int) -> None:
    rng, covered, trials = np.random.default_rng(seeds), 0, 200
    for trial in range(trials):
        curve = random_curve(rng, seeds, 400, 0.04 * (seeds > 1))
        crossing = curve.sparsity_at(resamples=400, seed=trial)
        assert crossing is not None and crossing.interval is not None
        covered += TRUTH in crossing.interval
    assert covered / trials >= 0.9


def test_with_many_items_a_crossing_is_close_to_the_truth() -> None:
    crossing = random_curve(np.random.default_rng(1), 3, 20_000, 0.0).sparsity_at(0.95, resamples=500)
    assert crossing is not None and crossing.interval is not None
    assert (
        crossing.sparsity == pytest.approx(TRUTH, abs=0.03)
        and crossing.interval.high - crossing.interval.low < 0.15
    )
    assert crossing.interval.over == "3 seeds × 20,000 items"


def test_an_interval_end_outside_the_grid_is_0_or_1() -> None:
    flat = Curve(Sample.of_seeds({0: 80.0, 1: 82.0}), {0.5: Sample.of_seeds({0: 80.0, 1: 81.9})})
    crossing = flat.sparsity_at(0.9)
    assert crossing is not None and crossing.interval is not None
    assert (
        crossing.bounded == "above" and crossing.interval.high == 1.0 and crossing.interval.low in {0.0, 0.5}
    )


def test_points_with_score_0_do_not_widen_the_interval_of_a_crossing() -> None:
    full = random_curve(np.random.default_rng(3), 3, 400, 0.1)
    dense, points = full.dense, {at: full.points[at] for at in GRID[:8]}
    nothing = Sample("mean", np.zeros((3, 400, 1)), np.zeros(400, int), np.ones(1), (0, 1, 2))
    few, many = (
        Curve(dense, points | dict.fromkeys(zeros, nothing)).sparsity_at(0.6, resamples=500)
        for zeros in ((0.9,), (0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99))
    )
    assert few is not None and few.interval is not None and many is not None and many.interval is not None
    ends = few.interval.low, few.interval.high
    assert (many.interval.low, many.interval.high) == pytest.approx(ends, abs=1e-9)


def test_an_area_of_shared_items_has_a_short_interval() -> None:
    curve = random_curve(np.random.default_rng(2), 1, 400, 0.0)
    area = curve.area(resamples=800)
    assert area.interval is not None and area.value in area.interval and area.interval.half < 0.06


def test_all_numbers_of_a_curve_use_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: object, **kwargs: object) -> object:
        calls.append(args)
        return draws(*args, **kwargs)

    draws = curve.draws
    monkeypatch.setattr(curve, "draws", counted)
    two = {at: Sample.of_seeds({0: value, 1: value + 1}) for at, value in ((0.2, 90.0), (0.5, 80.0))}
    tested = Curve(Sample.of_seeds({0: 99.0, 1: 100.0}), two)
    first = tested.sparsity_at(0.95), tested.sparsity_at(0.99), tested.area()
    assert len(calls) == 1
    assert first == (tested.sparsity_at(0.95), tested.sparsity_at(0.99), tested.area())
    tested.area(seed=1)
    assert len(calls) == 2


def test_a_curve_whose_scores_do_not_vary_has_no_interval_of_zero_width() -> None:
    def seeds(value: float) -> Sample:
        return Sample.of_seeds({0: value, 1: value})

    flat = Curve(seeds(90.0), {0.5: seeds(88.0), 0.8: seeds(60.0)})
    found = flat.sparsity_at(0.95)
    assert found is not None and found.bounded == "within" and found.interval is None
    assert flat.area().interval is None
