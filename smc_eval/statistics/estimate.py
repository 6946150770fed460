"""An Estimate: a mean over seeds and items, its variance, and the degrees of freedom of the variance."""

# S seeds, N items.

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from smc_eval.statistics.sample import Sample
from smc_eval.statistics.shapes import Floats, Ints
from smc_eval.statistics.student import quantile, two_sided

LEAST_ERROR = 1e-9
"""A smaller standard error is rounding: the numbers that it comes from are equal."""

FLOOR_QUANTILE = 0.025
"""The variance of seeds is at least this quantile of its distribution when only items differ."""


@dataclass(frozen=True)
class Estimate:
    """A mean over samples of seeds and items, and its error: other seeds and items would give another mean.

    Seed s and item i give mean + a_s + b_i + e_si. The variance of the mean over both is the variance of
    the seeds' scores divided by their number, which contains a and e, plus the items' part b: the
    quasi-F of designs with two crossed random factors (Clark 1973; Judd, Westfall & Kenny 2012).
    A plain bootstrap of both makes the variance of seeds too small by (S - 1)/S and counts e two or
    three times (Owen 2007).

    Degrees of freedom are (S - 1)/r, where r is the seeds' share of the variance: Student's for
    r = 1, the normal distribution's for r near 0. In between, Satterthwaite's (S - 1)/r^2 rejects
    too often and Cochran's weighted quantile too rarely for three to five seeds. For two seeds it is the
    root of r. See docs/statistics.md for the sizes of these tests.
    """

    value: float
    seeds: int
    items: int
    """Items of a seed; 0 if only the seeds' scores are known."""
    between: float
    """Variance of the seeds' scores; NaN for a single seed."""
    shared: float
    """Variance of items that all seeds share."""
    own: float
    """Variance of items within each seed alone."""
    extra: float = 0.0
    """Added variance of pairs that differ too rarely to show one."""

    @property
    def variance(self) -> float:
        """Variance of the value; NaN for one seed without items."""
        return self.variance_over(self.seeds)

    @property
    def error(self) -> float:
        """Standard error of the value."""
        return math.sqrt(self.variance)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance."""
        return self._freedom(self.seeds)

    @property
    def over(self) -> str:
        """The resampled units, in words."""
        if not self.items:
            return f"{self.seeds} seeds (t)"
        return (
            f"{self.items:,} items of one seed"
            if self.seeds == 1
            else f"{self.seeds} seeds × {self.items:,} items"
        )

    @property
    def has_variance(self) -> bool:
        """Whether the error is known: there are several seeds or items, and they are not all equal.

        Equal numbers, such as two seeds with one score or a perfect rank correlation, do not show how far
        others would lie. An error of 0 would be wrong, so none is given.
        """
        return (self.seeds > 1 or self.items > 1) and self.error > LEAST_ERROR

    def variance_over(self, seeds: int) -> float:
        """Variance of the value over this many seeds."""
        if self.seeds == 1:
            return self.shared + self.own + self.extra
        return self._between / seeds + self.shared + self.extra

    def half_width(self, level: float, seeds: int | None = None) -> float:
        """Half the width of the interval at a level, over this many seeds; by default its own."""
        seeds = seeds or self.seeds
        return quantile(level, self._freedom(seeds)) * math.sqrt(self.variance_over(seeds))

    def p_value(self) -> float:
        """Probability of a value at least as far from zero, if the true value is zero; 1 where the error
        is unknown."""
        if self.value == 0 or not self.has_variance:
            return 1.0
        return two_sided(self.value / self.error, self.freedom)

    @property
    def _between(self) -> float:
        """Variance of the seeds' scores, with a floor: seeds may have equal scores at random.

        The floor is `own` times the leading term of the `FLOOR_QUANTILE` quantile of
        chi-square / (S - 1), which is a little below the quantile.
        """
        half = (self.seeds - 1) / 2
        floor = math.exp(math.log(FLOOR_QUANTILE * math.gamma(half + 1)) / half) / half
        return max(self.between, self.own * floor)

    def _freedom(self, seeds: int) -> float:
        of_items = max(1.0, self.items - 1.0)
        if self.seeds == 1:
            return of_items
        variance = self.variance_over(seeds)
        share = self._between / seeds / variance if variance else 1.0
        freedom = (seeds - 1) / (share if seeds > 2 else math.sqrt(share)) if share else math.inf
        return min(freedom, max(of_items, seeds - 1.0))


def estimate(values_S: Floats, parts_SN: Floats, groups_N: Ints, extra: float = 0.0) -> Estimate:
    """The estimate of the mean of seeds' scores, from the influence of each item on each score [S, N]."""
    seeds, items = parts_SN.shape
    items = items if items > 1 else 0
    covariance_SS = covariance(parts_SN, groups_N)
    own, shared = float(np.trace(covariance_SS)) / seeds, 0.0
    if seeds > 1:
        shared = float(covariance_SS.sum() - np.trace(covariance_SS)) / (seeds * (seeds - 1))
        shared = max(0.0, shared)
        own = max(0.0, own - shared)
    between = float(values_S.var(ddof=1)) if seeds > 1 else math.nan
    return Estimate(float(values_S.mean()), seeds, items, between, shared, own, extra)


def covariance(parts_XN: Floats, groups_N: Ints) -> Floats:
    """Covariance [X, X] of X numbers over the choice of items, from the influence of each item on them."""
    whole_XX = np.zeros((len(parts_XN), len(parts_XN)))
    for group, size in zip(*np.unique(groups_N, return_counts=True), strict=True):
        if size > 1:
            inside_XN = parts_XN[:, groups_N == group]
            whole_XX += inside_XN @ inside_XN.T * size / (size - 1)
    return whole_XX


def estimate_sample(sample: Sample) -> Estimate:
    """The estimate of one table cell's value."""
    return estimate(sample.values_S(), sample.parts_SN(), sample.groups_N)


def contrast(a: Sample, b: Sample, times: float = 1.0) -> Estimate:
    """The estimate of a - times b, over the seeds of both, and over their items if these are the same."""
    seeds = [seed for seed in a.seeds if seed in b.seeds]
    a, b = a.only(seeds), b.only(seeds)
    if not a.same_items(b):
        a, b = a.by_seed(), b.by_seed()
    values_S, parts_SN = a.values_S() - times * b.values_S(), a.parts_SN() - times * b.parts_SN()
    # Agresti & Min (2005): one more differing pair a seed, so that few such pairs do not look certain
    extra = 1e4 / (a.size**2 * len(seeds)) if a.binary and b.binary else 0.0
    return estimate(values_S, parts_SN, a.groups_N, extra)
