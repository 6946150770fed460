"""Spearman's rank correlation of weighted examples, and the influence of each example."""

# S seeds, N examples, K = 2: prediction and reference; B resamples, counts of each example.

from __future__ import annotations

import numpy as np

from smc_eval.statistics.shapes import Floats


def resampled_rho(rows_SNK: Floats, counts_NB: Floats) -> Floats:
    """Spearman's rho [S, B], ties by mean rank; 0 where either is constant or contains a NaN."""
    rho_SB = np.zeros((len(rows_SNK), counts_NB.shape[1]))
    shared_N, b_NB = np.empty(0), np.empty(0)
    for seed, (a_N, b_N) in enumerate(rows_SNK.transpose(0, 2, 1)):
        if np.isnan(a_N).any() or np.isnan(b_N).any():
            continue
        if not np.array_equal(shared_N, b_N):  # seeds share their references
            shared_N, b_NB = b_N, _ranks(b_N, counts_NB)
        a_NB = _ranks(a_N, counts_NB)
        # times the count, as `spearman` does: whole numbers, so that both have the same last digit
        sums = (np.einsum("nb,nb,nb->b", counts_NB, x, y) for x, y in _pairs(a_NB, b_NB))
        a_b, a_a, b_b = (whole * counts_NB.sum(axis=0) for whole in sums)
        ordered = (a_a > 0) & (b_b > 0)
        rho_SB[seed] = np.divide(a_b, np.sqrt(a_a * b_b), out=np.zeros_like(a_b), where=ordered)
    return rho_SB


def rho_influence(rows_SNK: Floats) -> Floats:
    """Influence of each example on rho [S, N]: its influence function, of mean zero.

    With F and G the mid-distributions minus 1/2, rho = E[FG] / sqrt(E[FF] E[GG]). The weight of an
    example changes each E by its own product, and by changing F and G of all others.
    """
    influence_SN = np.zeros(rows_SNK.shape[:2])
    one_N1 = np.ones((rows_SNK.shape[1], 1))
    for seed, (a_N, b_N) in enumerate(rows_SNK.transpose(0, 2, 1)):
        if np.isnan(a_N).any() or np.isnan(b_N).any():
            continue
        f, g = (_ranks(x_N, one_N1)[:, 0] / (2 * len(x_N)) for x_N in (a_N, b_N))
        f_g, f_f, g_g = ((x * y).mean() for x, y in _pairs(f, g))
        if not f_f or not g_g:
            continue
        own_fg, own_ff, own_gg = (x * y - (x * y).mean() for x, y in _pairs(f, g))
        influence_fg = own_fg + _above(a_N, g) + _above(b_N, f)
        influence_ff, influence_gg = own_ff + 2 * _above(a_N, f), own_gg + 2 * _above(b_N, g)
        rho = f_g / np.sqrt(f_f * g_g)
        change = influence_ff / f_f + influence_gg / g_g
        influence_SN[seed] = influence_fg / np.sqrt(f_f * g_g) - rho / 2 * change
    return influence_SN


def _pairs(a: Floats, b: Floats) -> tuple[tuple[Floats, Floats], ...]:
    return (a, b), (a, a), (b, b)


def _ranks(values_N: Floats, counts_NB: Floats) -> Floats:
    """Twice the rank of each value among the counted ones, minus twice the mean rank.

    Twice, because mean ranks of ties have halves: all sums are whole numbers, and exact.
    """
    unique, group_N = np.unique(values_N, return_inverse=True)
    order_N = np.argsort(group_N, kind="stable")
    ends = np.cumsum(np.bincount(group_N, minlength=len(unique)))
    upto = np.cumsum(counts_NB[order_N], axis=0)[ends - 1]
    twice = upto - upto[-1]
    twice[1:] += upto[:-1]
    return np.asarray(twice[group_N])


def _above(values_N: Floats, weight_N: Floats) -> Floats:
    """Mean of `weight_N` over the examples above each value, ties counted half; minus the mean of these."""
    unique, group_N = np.unique(values_N, return_inverse=True)
    sums = np.bincount(group_N, weights=weight_N, minlength=len(unique))
    above = (sums.sum() - np.cumsum(sums) + sums / 2) / len(values_N)
    return np.asarray(above[group_N] - above[group_N].mean())
