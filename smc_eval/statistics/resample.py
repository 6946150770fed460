"""The crossed bootstrap: items are drawn for all seeds together, and the variance of seeds is added."""

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
"""Counts that are drawn at once, so that they fit the processor's cache."""


def draws(
    samples: Sequence[Sample], resamples: int, freedom: float, seed: int = 0, *, linear: bool = False
) -> Floats:
    """Random values of these samples [P, B], drawn together.

    Samples of the same items get the same items in each resample, and samples of the same seeds
    the same seeds, so that differences and curves stay paired. Items are drawn with replacement
    within their groups. Seeds are too few to be drawn: their deviations get normal weights, so that
    the draws have the variance of the seeds' scores. That variance already contains the effect of
    items on each seed alone, so the draws of items are shrunk to the effect that all seeds share. One
    random factor for each draw makes Student's t of the given degrees of freedom.

    Args:
        freedom: degrees of freedom of the variance, from `Estimate`; infinite for one seed.
        linear: draws of items to first order, by `parts_SN`: equal for means, faster for other scores.
    """
    rng = np.random.default_rng(seed)
    off_PB = np.zeros((len(samples), resamples))
    by_items: dict[tuple[object, ...], list[int]] = {}
    for number, sample in enumerate(samples):
        if sample.size:
            by_items.setdefault((sample.data, sample.groups_N.tobytes()), []).append(number)
    for numbers in by_items.values():
        same_items = [samples[number] for number in numbers]
        off_PB[numbers] = _of_items(same_items, resamples, rng, linear=linear)
    weights: dict[tuple[int, ...], Floats] = {}
    values = [sample.values_S() for sample in samples]
    for number, (sample, values_S) in enumerate(zip(samples, values, strict=True)):
        if (size := len(sample.seeds)) > 1:
            if sample.seeds not in weights:
                weights[sample.seeds] = rng.standard_normal((size, resamples))
            off_PB[number] += (
                (values_S - values_S.mean()) @ weights[sample.seeds] / math.sqrt(size * (size - 1))
            )
    if freedom < LARGE:
        off_PB *= np.sqrt(freedom / rng.chisquare(freedom, resamples))
    return np.array([[values_S.mean()] for values_S in values]) + off_PB


def _of_items(samples: Sequence[Sample], resamples: int, rng: np.random.Generator, *, linear: bool) -> Floats:
    """Deviations of each value [P, B] by the choice of items, which all these samples share."""
    parts = [sample.parts_SN() for sample in samples]
    drawn: list[Floats] = []
    for counts_NB in resample_counts(samples[0].groups_N, resamples, rng):
        if linear:
            drawn.append(np.array([parts_SN.mean(axis=0) for parts_SN in parts]) @ counts_NB)
        else:
            drawn.append(np.array([sample.reweighted(counts_NB).mean(axis=0) for sample in samples]))
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
    """Matrix [P, P] from draws of the effect of items on means to draws of the effect shared by all seeds.

    The covariance between different seeds is that of their means, minus each seed's own part divided
    by their number. Matrix roots of the two covariances turn draws of one into draws of the other.
    """
    seeds = parts_PSN.shape[1]
    means_PP = covariance(parts_PSN.mean(axis=1), groups_N)
    own_PP = np.mean([covariance(parts_PSN[:, seed], groups_N) for seed in range(seeds)], axis=0)
    shared_PP = (seeds * means_PP - own_PP) / (seeds - 1)
    return np.asarray(_root(shared_PP, 0.5) @ _root(means_PP, -0.5))


def _root(square_PP: Floats, power: float) -> Floats:
    """A power of a symmetric matrix, in the subspace where it is positive beyond rounding."""
    values_P, vectors_PP = np.linalg.eigh(square_PP)
    positive_P = values_P > max(values_P.max(), 0.0) * 1e-10
    powers_P = np.where(positive_P, np.where(positive_P, values_P, 1.0) ** power, 0.0)
    return np.asarray((vectors_PP * powers_P) @ vectors_PP.T)


def resample_counts(groups_N: Ints, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each item occurs [N, b] in resamples that draw each group's items with replacement."""
    size = len(groups_N)
    step = max(1, COUNTS_AT_ONCE // size)
    inside = [np.flatnonzero(groups_N == group) for group in np.unique(groups_N)]
    for begin in range(0, resamples, step):
        width = min(step, resamples - begin)
        counts_NB = np.empty((size, width))
        for at in inside:
            drawn = rng.integers(0, len(at), (len(at), width)) * width + np.arange(width)
            counts_NB[at] = np.bincount(drawn.ravel(), minlength=len(at) * width).reshape(len(at), width)
        yield counts_NB
