"""An Interval around a number of the table, which says what was resampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smc_eval.statistics.estimate import Estimate, estimated
from smc_eval.statistics.resample import draws
from smc_eval.statistics.sample import Sample
from smc_eval.statistics.student import quantile

SCORE_RANGES = {"rank": (-1.0, 1.0), "bleu": (0.0, 100.0)}
"""Between which values a score lies, by kind."""

BENT = 2.0
"""Degrees of freedom, no fewer, by whose t a percentage's interval bends: those of three seeds."""


@dataclass(frozen=True)
class Interval:
    """Where the number lies that more seeds and items would come to."""

    low: float
    high: float
    level: float
    over: str
    """What was resampled: `3 seeds × 1,221 items`, `1,221 items of one seed`, `5 seeds (t)`."""

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def interval(
    sample: Sample, resamples: int | None = None, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """The interval of a sample's value over its seeds and items; None where there is one of each.

    In closed form, which takes no time and is what the table shows: the value and Student's t of its
    error on both sides, of percentages Wilson's interval, which is skew. Given a number of `resamples`,
    by the crossed bootstrap. All rest on the same variance.
    """
    found = estimated(sample)
    if not found.known:
        return None
    if resamples:
        (value_B,) = draws([sample], resamples, found.freedom, seed)
        low, high = np.quantile(value_B, [(1 - level) / 2, (1 + level) / 2]).tolist()
    elif sample.binary:
        low, high = _wilson(found, level)
    else:
        reach = found.reach(level)
        low, high = found.value - reach, found.value + reach
    least, most = SCORE_RANGES.get(sample.kind, (0.0, 100.0) if sample.binary else (-math.inf, math.inf))
    return Interval(max(least, low), min(most, high), level, found.over)


def _wilson(found: Estimate, level: float) -> tuple[float, float]:
    """Wilson's (1927) score interval of a percentage: all x with |x - share| <= t root(x(1 - x)/n).

    The n is how many independent answers the variance is worth, as in surveys (Korn & Graubard 1998;
    Dean & Pagano 2015): a single seed's N answers are worth N, and their variance needs no t. Nothing
    is known better than by as many independent answers as there are; what every net gets right, or
    none, no better than by one seed's. With the t of two seeds, up to 12.7, the end near 50 would run
    away: their interval bends as far as that of `BENT` degrees of freedom, and is as long as t says.
    """
    share, normal = found.value / 100, quantile(level, math.inf)
    spread = share * (1 - share)
    worth = 1 + 1e4 * spread / found.variance if found.variance else math.inf
    least = normal**2 / (found.items * (found.seeds if found.variance else 1))
    freedom = found.freedom if found.seeds > 1 else math.inf
    long, bent = (max(quantile(level, f) ** 2 / worth, least) for f in (freedom, max(freedom, BENT)))
    middle = (share + bent / 2) / (1 + bent)
    reach = math.sqrt(long * (spread + bent / 4)) / (1 + bent)
    return min(found.value, 100 * (middle - reach)), max(found.value, 100 * (middle + reach))


def over_seeds(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Student's t interval of the mean of seeds' scores; None for a single one."""
    return interval(Sample.of_seeds(dict(enumerate(values))), level=level) if len(values) > 1 else None
