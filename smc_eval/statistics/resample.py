"""The crossed bootstrap: items drawn anew for all seeds together, and seeds' own variance with it."""

# S seeds, N items, B resamples, P samples.

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from smc_eval.statistics.sample import Sample
from smc_eval.statistics.shapes import Floats, Ints

CELLS = 1 << 19
"""Counts that are drawn at once, so that they stay in the processor's cache."""


def draws(samples: Sequence[Sample], resamples: int, seed: int = 0, *, linear: bool = False) -> Floats:
    """What the values of these samples might have been [P, B], drawn together.

    Samples of the same items get the same items in each resample, and samples of the same seeds
    the same seeds, so differences and curves keep what is paired. Items are drawn with replacement
    within their groups. Seeds are too few to be drawn from: their deviations get normal weights
    and a common Student factor, so that the spread of draws is that of seeds' scores and a single
    sample's draws are Student's around its value. What items add to seeds' scores one by one is
    within that spread, so items' draws are shrunk to what they add to all alike.

    Args:
        linear: items' draws by first order, `parts_SN`: the same for means, faster for the others.
    """
    chance = np.random.default_rng(seed)
    value_PB = np.array([sample.values_S().mean() for sample in samples])[:, None].repeat(resamples, axis=1)
    kinds: dict[tuple[object, ...], list[int]] = {}
    for number, sample in enumerate(samples):
        if sample.size:
            kinds.setdefault((sample.data, sample.groups_N.tobytes()), []).append(number)
    for numbers in kinds.values():
        spreads = _of_items([samples[number] for number in numbers], resamples, chance, linear=linear)
        for number, spread_B in zip(numbers, spreads, strict=True):
            value_PB[number] += spread_B
    factors: dict[tuple[int, ...], Floats] = {}
    for number, sample in enumerate(samples):
        if (size := len(sample.seeds)) > 1:
            if sample.seeds not in factors:
                student_B = np.sqrt((size - 1) / chance.chisquare(size - 1, resamples))
                factors[sample.seeds] = chance.standard_normal((size, resamples)) * student_B
            values_S = sample.values_S()
            off_S = (values_S - values_S.mean()) / np.sqrt(size * (size - 1))
            value_PB[number] += off_S @ factors[sample.seeds]
    return value_PB


def _of_items(
    samples: Sequence[Sample], resamples: int, chance: np.random.Generator, *, linear: bool
) -> Iterator[Floats]:
    """What the choice of items adds to each sample's value."""
    parts = [sample.parts_SN() for sample in samples] if linear else []
    drawn: list[list[Floats]] = [[] for _ in samples]
    for counts_NB in counted(samples[0].groups_N, resamples, chance):
        for number, sample in enumerate(samples):
            drawn[number].append(parts[number] @ counts_NB if linear else sample.under(counts_NB))
    for score_SB in map(np.hstack, drawn):
        mean_B = score_SB.mean(axis=0)
        off_B = mean_B - mean_B.mean()
        if (size := len(score_SB)) > 1:
            # variances of the mean: what seeds share, and what each has of its own, over their number
            whole, all_S = off_B.var(), score_SB.var(axis=1).mean()
            shared = max(0.0, (size * whole - all_S) / (size - 1))
            off_B = off_B * np.sqrt(shared / whole if whole else 0.0)
        yield off_B


def counted(groups_N: Ints, resamples: int, chance: np.random.Generator) -> Iterator[Floats]:
    """How often each item occurs [N, b] in resamples that draw each group's items with replacement."""
    size = len(groups_N)
    step = max(1, CELLS // size)
    inside = [np.flatnonzero(groups_N == group) for group in np.unique(groups_N)]
    for begin in range(0, resamples, step):
        width = min(step, resamples - begin)
        counts_NB = np.empty((size, width))
        for at in inside:
            drawn = chance.integers(0, len(at), (len(at), width)) * width + np.arange(width)
            counts_NB[at] = np.bincount(drawn.ravel(), minlength=len(at) * width).reshape(len(at), width)
        yield counts_NB
