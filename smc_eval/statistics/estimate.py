"""An Estimate: a mean over seeds and items, how far it may be off, and how well that is known."""

# S seeds, N items.

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from smc_eval.statistics.sample import Sample
from smc_eval.statistics.shapes import Floats, Ints
from smc_eval.statistics.student import quantile, two_sided

RARE = 0.025
"""Seeds are taken to differ no less than they do in this share of samples in which only items differ."""


@dataclass(frozen=True)
class Estimate:
    """A number of which seeds and items are samples: those of another day would give another.

    Seed s and item i give mean + a_s + b_i + e_si. The variance of the mean over both is that of
    the seeds' scores over their number, which holds a and e, plus the items' own share b: the
    quasi-F of designs with two crossed random factors (Clark 1973; Judd, Westfall & Kenny 2012).
    A plain bootstrap of both draws a spread of seeds too small by (S - 1)/S and counts e twice or
    thrice (Owen 2007).

    Degrees of freedom are (S - 1)/r, where r is the seeds' share of the variance: Student's for
    r = 1, the normal distribution's for r near 0. In between, Satterthwaite's (S - 1)/r^2 rejects
    too often and Cochran's weighted quantile too rarely for three to five seeds; for two seeds the
    root of r. See docs/statistics.md for the sizes of these tests.
    """

    value: float
    seeds: int
    items: int
    """Items of a seed; 0 where only seeds' scores are known."""
    between: float
    """Variance of seeds' scores; NaN for a single seed."""
    shared: float
    """Variance that the choice of items gives to all seeds alike."""
    own: float
    """Variance that the choice of items gives to each seed by itself."""
    extra: float = 0.0
    """What pairs add that differ too seldom to show a variance."""

    @property
    def variance(self) -> float:
        """Of the value; NaN where nothing was resampled."""
        return self.at(self.seeds)

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
        """What was resampled, in words."""
        if not self.items:
            return f"{self.seeds} seeds (t)"
        return (
            f"{self.items:,} items of one seed"
            if self.seeds == 1
            else f"{self.seeds} seeds × {self.items:,} items"
        )

    @property
    def known(self) -> bool:
        """Whether there is anything to tell a variance from."""
        return self.seeds > 1 or self.items > 1

    def at(self, seeds: int) -> float:
        """Variance of the value over so many seeds."""
        if self.seeds == 1:
            return self.shared + self.own + self.extra
        return self._between / seeds + self.shared + self.extra

    def reach(self, level: float, seeds: int | None = None) -> float:
        """How far the truth may lie from the value over so many seeds, at this level."""
        seeds = seeds or self.seeds
        return quantile(level, self._freedom(seeds)) * math.sqrt(self.at(seeds))

    def p(self) -> float:
        """Probability of a value as far from zero, if the truth were zero."""
        if self.value == 0:
            return 1.0
        return two_sided(self.value / self.error, self.freedom) if self.error else 0.0

    @property
    def _between(self) -> float:
        """Variance of seeds' scores, floored: seeds that agree by chance must not make one too sure.

        The floor is below the `RARE` quantile of chi-square / (S - 1) by its leading term.
        """
        half = (self.seeds - 1) / 2
        floor = math.exp(math.log(RARE * math.gamma(half + 1)) / half) / half
        return max(self.between, self.own * floor)

    def _freedom(self, seeds: int) -> float:
        of_items = max(1.0, self.items - 1.0)
        if self.seeds == 1:
            return of_items
        variance = self.at(seeds)
        share = self._between / seeds / variance if variance else 1.0
        known = (seeds - 1) / (share if seeds > 2 else math.sqrt(share)) if share else math.inf
        return min(known, max(of_items, seeds - 1.0))


def estimate(values_S: Floats, parts_SN: Floats, groups_N: Ints, extra: float = 0.0) -> Estimate:
    """The mean of seeds' scores, from what each item adds to the error of each."""
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
    """Covariance [X, X] of the errors that the choice of items makes, from what each item adds to them."""
    whole_XX = np.zeros((len(parts_XN), len(parts_XN)))
    for group, size in zip(*np.unique(groups_N, return_counts=True), strict=True):
        if size > 1:
            inside_XN = parts_XN[:, groups_N == group]
            whole_XX += inside_XN @ inside_XN.T * size / (size - 1)
    return whole_XX


def estimated(sample: Sample) -> Estimate:
    """The estimate of one square's number."""
    return estimate(sample.values_S(), sample.parts_SN(), sample.groups_N)


def contrast(a: Sample, b: Sample, times: float = 1.0) -> Estimate:
    """The difference a - times b, over the seeds of both, and over their items where these are the same."""
    seeds = [seed for seed in a.seeds if seed in b.seeds]
    a, b = a.only(seeds), b.only(seeds)
    if not a.same_items(b):
        a, b = a.by_seed(), b.by_seed()
    values_S, parts_SN = a.values_S() - times * b.values_S(), a.parts_SN() - times * b.parts_SN()
    # Agresti & Min (2005): one more pair a seed that differs, so that few such pairs make nobody sure
    extra = 1e4 / (a.size**2 * len(seeds)) if a.binary and b.binary else 0.0
    return estimate(values_S, parts_SN, a.groups_N, extra)
