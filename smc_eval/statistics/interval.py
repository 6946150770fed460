"""An Interval around a value of the table, with the resampled units in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smc_eval.statistics.estimate import Estimate, estimate_sample
from smc_eval.statistics.resample import draws
from smc_eval.statistics.sample import UNBOUNDED, Sample
from smc_eval.statistics.student import quantile

MIN_SKEW_FREEDOM = 2.0
"""Least degrees of freedom for the skew of a percentage's interval: those of three seeds."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval for the value of infinitely many seeds and items."""

    low: float
    high: float
    level: float
    over: str
    """The resampled units: `3 seeds × 1,221 items`, `1,221 items of one seed`, `5 seeds (t)`."""

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2

    @property
    def finite(self) -> bool:
        """Whether both ends are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def ends(self, form: str) -> str:
        """Both ends in a format, as in `0.41 to 0.52`. An unknown end is not written, nor are two."""
        match math.isfinite(self.low), math.isfinite(self.high):
            case True, True:
                return f"{self.low:{form}} to {self.high:{form}}"
            case True, False:
                return f"{self.low:{form}} or more"
            case False, True:
                return f"{self.high:{form}} or less"
        return ""

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def interval(
    sample: Sample, resamples: int | None = None, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """The interval of a sample's value over its seeds and items; None where its error is unknown.

    That is so for one seed without items, and where all of them are equal: a perfect rank correlation, two
    seeds with one score. An interval never leaves the range of the score.
    The closed form is fast, and the table shows it: the value ± Student's t times its error, or
    Wilson's interval for percentages, which is asymmetric. With `resamples`, the crossed bootstrap. Both
    use the same variance.
    """
    estimate = estimate_sample(sample)
    if not estimate.has_variance and not sample.binary:
        return None
    if resamples and estimate.has_variance:
        (value_B,) = draws([sample], resamples, estimate.freedom, seed)
        low, high = np.quantile(value_B, [(1 - level) / 2, (1 + level) / 2]).tolist()
    elif sample.binary:
        low, high = _wilson(estimate, level)
    else:
        half = estimate.half_width(level)
        low, high = estimate.value - half, estimate.value + half
    return within(sample.range, low, high, level, estimate.over)


def _wilson(estimate: Estimate, level: float) -> tuple[float, float]:
    """Wilson's (1927) score interval of a percentage: all x with |x - share| <= t root(x(1 - x)/n).

    n is the effective sample size of the variance, as in surveys (Korn & Graubard 1998; Dean & Pagano
    2015): a single seed's N answers count N, and the normal quantile replaces t. n is at most the number
    of answers of all seeds, and of one seed where all nets get all answers right or all wrong. With the
    t of two seeds, up to 12.7, the end near 50 would lie too far away: the skew of the interval uses at
    least `MIN_SKEW_FREEDOM` degrees of freedom, its length uses t.
    """
    share, normal = estimate.value / 100, quantile(level, math.inf)
    binomial = share * (1 - share)
    size = 1 + 1e4 * binomial / estimate.variance if estimate.variance else math.inf
    least = normal**2 / (estimate.items * (estimate.seeds if estimate.variance else 1))
    freedom = estimate.freedom if estimate.seeds > 1 else math.inf
    freedoms = freedom, max(freedom, MIN_SKEW_FREEDOM)
    length, skew = (max(quantile(level, f) ** 2 / size, least) for f in freedoms)
    middle = (share + skew / 2) / (1 + skew)
    half = math.sqrt(length * (binomial + skew / 4)) / (1 + skew)
    return min(estimate.value, 100 * (middle - half)), max(estimate.value, 100 * (middle + half))


def within(ends: tuple[float, float], low: float, high: float, level: float, over: str) -> Interval | None:
    """An interval cut to a range; None where nothing of it is left but a point."""
    low, high = max(ends[0], low), min(ends[1], high)
    return Interval(low, high, level, over) if low < high else None


def over_seeds(
    values: Sequence[float], level: float = 0.95, ends: tuple[float, float] = UNBOUNDED
) -> Interval | None:
    """Student's t interval of the mean of seeds' scores; None for a single seed, and where all are equal.

    `ends` are the smallest and the largest possible score, such as 0 and 100.
    """
    return interval(Sample.of_seeds(dict(enumerate(values)), ends), level=level) if len(values) > 1 else None
