"""A Comparison of two methods on the same seeds and items: their difference, and its interval and p."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from smc_eval.errors import UsageError
from smc_eval.statistics.estimate import Estimate, contrast
from smc_eval.statistics.interval import Interval, within
from smc_eval.statistics.resample import draws
from smc_eval.statistics.sample import Sample

MOST_NEEDED_SEEDS = 1000
"""Above this number of seeds no hint is given."""


@dataclass(frozen=True)
class Comparison:
    """The difference a - b over the seeds of both. A seed fixes the start net and the order of batches."""

    a: float
    b: float
    difference: float
    interval: Interval | None
    """None where the error of the difference cannot be estimated. It stays within their range."""
    p: float
    """Two-sided; 1 where there is no interval."""
    seeds: int
    items: int
    """0 if only the seeds' scores are known."""
    level: float = 0.95
    estimate: Estimate | None = field(default=None, repr=False)

    def verdict(self, p: float | None = None) -> str:
        """`a` or `b`, whichever is higher, or `tie`; `p` may be corrected for multiple comparisons."""
        significant = (self.p if p is None else p) < 1 - self.level
        return ("a" if self.difference > 0 else "b") if significant else "tie"


def compare_samples(
    a: Sample, b: Sample, resamples: int | None = None, level: float = 0.95, seed: int = 0
) -> Comparison:
    """Test a - b over the seeds and items of both: seed i with seed i, item j with item j.

    The closed form uses the variance of the paired differences; for scores that are not means, the
    influence of items replaces their values. With `resamples`, the crossed bootstrap, which for a
    single seed is Koehn's (2004) paired bootstrap, centred. If items differ, only the seeds' scores are
    compared.

    Raises:
        UsageError: they share no seed, or their scores are of different kinds.
    """
    if a.size and b.size and a.kind != b.kind:
        raise UsageError(f"scores of kind {a.kind!r} and {b.kind!r} cannot be compared; choose one task")
    seeds = [own for own in a.seeds if own in b.seeds]
    if not seeds:
        raise UsageError(
            f"no seed is in both: {_listed(a.seeds)} and {_listed(b.seeds)}; run both with the same seeds"
        )
    a, b = a.only(seeds), b.only(seeds)
    difference = contrast(a, b)
    interval, p = None, 1.0
    if difference.has_variance:
        half, p = difference.half_width(level), difference.p_value()
        low, high = difference.value - half, difference.value + half
        if resamples:
            pair = [sample if difference.items else sample.by_seed() for sample in (a, b)]
            draws_B = np.subtract(*draws(pair, resamples, difference.freedom, seed))
            if draws_B.min() < draws_B.max():  # else the closed form gives the ends
                low, high = np.quantile(draws_B, [(1 - level) / 2, (1 + level) / 2]).tolist()
            farther = np.count_nonzero(np.abs(draws_B - difference.value) >= abs(difference.value))
            p = (int(farther) + 1) / (resamples + 1)
        ends = a.range[0] - b.range[1], a.range[1] - b.range[0]
        interval = within(ends, low, high, level, difference.over)
    return Comparison(
        a.value(),
        b.value(),
        difference.value,
        interval,
        p,
        difference.seeds,
        difference.items,
        level,
        difference,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) corrected p-values, in the given order: they control the family-wise error rate."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, least = [0.0] * len(p_values), 0.0
    for place, number in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[number]))
        adjusted[number] = least
    return adjusted


def seeds_needed(comparison: Comparison, power: float = 0.8) -> int | None:
    """How many seeds are needed to find a difference of this size with this power.

    None for a single seed, no difference or an unknown error, or if these items are too few for any number
    of seeds.
    """
    estimate = comparison.estimate
    if estimate is None or estimate.seeds < 2 or not estimate.value or not estimate.has_variance:
        return None

    def enough(seeds: int) -> bool:
        least = estimate.half_width(comparison.level, seeds) + estimate.half_width(2 * power - 1, seeds)
        return least <= abs(estimate.value)

    seeds = bisect_left(range(MOST_NEEDED_SEEDS + 1), True, lo=2, key=enough)
    return seeds if seeds <= MOST_NEEDED_SEEDS else None


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
