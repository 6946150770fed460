"""The crossed bootstrap: items drawn anew for all seeds together, and seeds' own variance with it."""

# S seeds, N items, B resamples, P samples.

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from smc_eval.statistics.estimate import covariance
from smc_eval.statistics.sample import Sample
from smc_eval.statistics.shapes import Floats, Ints
from smc_eval.statistics.student import LARGE

COUNTS_AT_ONCE = 1 << 19
"""Counts that are drawn at once, so that they stay in the processor's cache."""


def draws(
    samples: Sequence[Sample], resamples: int, freedom: float, seed: int = 0, *, linear: bool = False
) -> Floats:
    """What the values of these samples might have been [P, B], drawn together.

    Samples of the same items get the same items in each resample, and samples of the same seeds
    the same seeds, so differences and curves keep what is paired. Items are drawn with replacement
    within their groups. Seeds are too few to be drawn from: their deviations get normal weights, so
    that the spread of draws is that of seeds' scores. What items add to seeds' scores one by one is
    within that spread already, so items' draws are shrunk to what they add to all alike. One factor
    of Student's makes the draws of a variance known to so many degrees of freedom.

    Args:
        freedom: degrees of freedom of the variance, as `Estimate` has them; infinite for one seed.
        linear: items' draws by first order, `parts_SN`: the same for means, faster for the others.
    """
    chance = np.random.default_rng(seed)
    off_PB = np.zeros((len(samples), resamples))
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, sample in enumerate(samples):
        if sample.size:
            alike.setdefault((sample.data, sample.groups_N.tobytes()), []).append(number)
    for numbers in alike.values():
        off_PB[numbers] = _of_items([samples[number] for number in numbers], resamples, chance, linear=linear)
    weights: dict[tuple[int, ...], Floats] = {}
    values = [sample.values_S() for sample in samples]
    for number, (sample, values_S) in enumerate(zip(samples, values, strict=True)):
        if (size := len(sample.seeds)) > 1:
            if sample.seeds not in weights:
                weights[sample.seeds] = chance.standard_normal((size, resamples))
            off_PB[number] += (
                (values_S - values_S.mean()) @ weights[sample.seeds] / math.sqrt(size * (size - 1))
            )
    if freedom < LARGE:
        off_PB *= np.sqrt(freedom / chance.chisquare(freedom, resamples))
    return np.array([[values_S.mean()] for values_S in values]) + off_PB


def _of_items(
    samples: Sequence[Sample], resamples: int, chance: np.random.Generator, *, linear: bool
) -> Floats:
    """What the choice of items, the same for all these samples, adds to the value of each [P, B]."""
    parts = [sample.parts_SN() for sample in samples]
    drawn: list[Floats] = []
    for counts_NB in resample_counts(samples[0].groups_N, resamples, chance):
        if linear:
            drawn.append(np.array([parts_SN.mean(axis=0) for parts_SN in parts]) @ counts_NB)
        else:
            drawn.append(np.array([sample.under(counts_NB).mean(axis=0) for sample in samples]))
    off_PB = np.hstack(drawn)
    off_PB -= off_PB.mean(axis=1, keepdims=True)
    paired: dict[tuple[int, ...], list[int]] = {}
    for number, sample in enumerate(samples):
        paired.setdefault(sample.seeds, []).append(number)
    for seeds, numbers in paired.items():
        if len(seeds) > 1:
            parts_PSN = np.array([parts[number] for number in numbers])
            off_PB[numbers] = _shrinking(parts_PSN, samples[0].groups_N) @ off_PB[numbers]
    return off_PB


def _shrinking(parts_PSN: Floats, groups_N: Ints) -> Floats:
    """What turns draws of items [P, P] into draws of what items add to all seeds alike.

    The covariance that is between different seeds is that of their means, less what each seed has
    of its own over their number. Draws of the one become draws of the other by its root.
    """
    seeds = parts_PSN.shape[1]
    means_PP = covariance(parts_PSN.mean(axis=1), groups_N)
    own_PP = np.mean([covariance(parts_PSN[:, seed], groups_N) for seed in range(seeds)], axis=0)
    shared_PP = (seeds * means_PP - own_PP) / (seeds - 1)
    return np.asarray(_root(shared_PP, 0.5) @ _root(means_PP, -0.5))


def _root(square_PP: Floats, power: float) -> Floats:
    """A power of a symmetric matrix, in the space where it is positive beyond rounding."""
    values_P, vectors_PP = np.linalg.eigh(square_PP)
    positive_P = values_P > max(values_P.max(), 0.0) * 1e-10
    powers_P = np.where(positive_P, np.where(positive_P, values_P, 1.0) ** power, 0.0)
    return np.asarray((vectors_PP * powers_P) @ vectors_PP.T)


def resample_counts(groups_N: Ints, resamples: int, chance: np.random.Generator) -> Iterator[Floats]:
    """How often each item occurs [N, b] in resamples that draw each group's items with replacement."""
    size = len(groups_N)
    step = max(1, COUNTS_AT_ONCE // size)
    inside = [np.flatnonzero(groups_N == group) for group in np.unique(groups_N)]
    for begin in range(0, resamples, step):
        width = min(step, resamples - begin)
        counts_NB = np.empty((size, width))
        for at in inside:
            drawn = chance.integers(0, len(at), (len(at), width)) * width + np.arange(width)
            counts_NB[at] = np.bincount(drawn.ravel(), minlength=len(at) * width).reshape(len(at), width)
        yield counts_NB
