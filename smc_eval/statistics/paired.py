"""A Comparison of two methods on the same seeds and items: what they differ by, and how surely."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from smc_eval.errors import UsageError
from smc_eval.statistics.estimate import Estimate, contrast
from smc_eval.statistics.interval import Interval
from smc_eval.statistics.resample import draws
from smc_eval.statistics.sample import Sample

MOST_NEEDED_SEEDS = 1000
"""Seeds beyond which a hint is no longer one."""


@dataclass(frozen=True)
class Comparison:
    """The difference a - b over the seeds that both have: one first net, one order of batches each."""

    a: float
    b: float
    difference: float
    interval: Interval | None
    """None where nothing tells how far the difference may be off."""
    p: float
    """Two-sided; 1 where there is no interval."""
    seeds: int
    items: int
    """0 where only seeds' scores are known."""
    level: float = 0.95
    estimate: Estimate | None = field(default=None, repr=False)

    def verdict(self, p: float | None = None) -> str:
        """`a` or `b`, whichever is higher, or `tie`; `p` may be corrected for how many were compared."""
        sure = (self.p if p is None else p) < 1 - self.level
        return ("a" if self.difference > 0 else "b") if sure else "tie"


def compare_samples(
    a: Sample, b: Sample, resamples: int | None = None, level: float = 0.95, seed: int = 0
) -> Comparison:
    """Test a - b over the seeds and items of both: seed i with seed i, item j with item j.

    In closed form by the variance of the paired differences, items' influence standing for items
    where the score is no mean; given `resamples`, by the crossed bootstrap, which for a single seed
    is Koehn's (2004) paired bootstrap, centred. Where items differ, seeds' scores stand alone.

    Raises:
        UsageError: they share no seed, or what they measure is not the same.
    """
    if a.size and b.size and a.kind != b.kind:
        raise UsageError(f"scores of kind {a.kind!r} and {b.kind!r} cannot be compared; choose one task")
    seeds = [one for one in a.seeds if one in b.seeds]
    if not seeds:
        raise UsageError(
            f"no seed is in both: {_listed(a.seeds)} and {_listed(b.seeds)}; run one with the other's"
        )
    found = contrast(a, b)
    told = None
    p = 1.0
    if found.known:
        reach, p = found.reach(level), found.p()
        low, high = found.value - reach, found.value + reach
        if resamples:
            a, b = (a.only(seeds), b.only(seeds)) if found.items else (a.by_seed(), b.by_seed())
            off_B = np.subtract(*draws([a, b], resamples, found.freedom, seed))
            low, high = np.quantile(off_B, [(1 - level) / 2, (1 + level) / 2]).tolist()
            further = np.count_nonzero(np.abs(off_B - found.value) >= abs(found.value))
            p = (int(further) + 1) / (resamples + 1)
        told = Interval(low, high, level, found.over)
    one, other = a.only(seeds).value(), b.only(seeds).value()
    return Comparison(one, other, found.value, told, p, found.seeds, found.items, level, found)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) corrected p-values, in order: that any is false stays as rare as the level says."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, least = [0.0] * len(p_values), 0.0
    for place, number in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[number]))
        adjusted[number] = least
    return adjusted


def seeds_needed(comparison: Comparison, power: float = 0.8) -> int | None:
    """How many seeds would show a difference of this size in this share of experiments.

    None where a single seed tells nothing of others, where there is no difference, or where these
    items are too few for any number of seeds.
    """
    found = comparison.estimate
    if found is None or found.seeds < 2 or not found.value:
        return None

    def enough(seeds: int) -> bool:
        wanted = found.reach(comparison.level, seeds) + found.reach(2 * power - 1, seeds)
        return wanted <= abs(found.value)

    seeds = bisect_left(range(MOST_NEEDED_SEEDS + 1), True, lo=2, key=enough)
    return seeds if seeds <= MOST_NEEDED_SEEDS else None


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
