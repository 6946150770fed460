"""An Interval around a number of the table, which says what was resampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smc_eval.statistics.estimate import estimated
from smc_eval.statistics.resample import draws
from smc_eval.statistics.sample import Sample

ENDS = {"rank": (-1.0, 1.0), "bleu": (0.0, 100.0)}
"""Between which values a score lies, by kind."""


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

    In closed form, which takes no time and is what the table shows; given a number of `resamples`,
    by the crossed bootstrap, whose interval may be skew. Both rest on the same variance.
    """
    found = estimated(sample)
    if not found.known:
        return None
    if resamples:
        (value_B,) = draws([sample], resamples, found.freedom, seed)
        low, high = np.quantile(value_B, [(1 - level) / 2, (1 + level) / 2]).tolist()
    else:
        reach = found.reach(level)
        low, high = found.value - reach, found.value + reach
    least, most = ENDS.get(sample.kind, (0.0, 100.0) if sample.binary else (-math.inf, math.inf))
    return Interval(max(least, low), min(most, high), level, found.over)


def over_seeds(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Student's t interval of the mean of seeds' scores; None for a single one."""
    return interval(Sample.of_seeds(dict(enumerate(values))), level=level) if len(values) > 1 else None
