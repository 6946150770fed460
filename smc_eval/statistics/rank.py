"""Spearman's rank correlation of weighted examples, and what each example adds to it."""

# S seeds, N examples, K = 2: what was predicted, what was right; B resamples, counts of each example.

from __future__ import annotations

import numpy as np

from smc_eval.statistics.shapes import Floats


def resampled_rho(rows_SNK: Floats, counts_NB: Floats) -> Floats:
    """Spearman's rho [S, B], ties by their mean rank; 0 where either is constant or holds a NaN."""
    rho_SB = np.zeros((len(rows_SNK), counts_NB.shape[1]))
    right_N, b_NB = np.empty(0), np.empty(0)
    for seed, (a_N, wanted_N) in enumerate(rows_SNK.transpose(0, 2, 1)):
        if np.isnan(a_N).any() or np.isnan(wanted_N).any():
            continue
        if not np.array_equal(right_N, wanted_N):  # seeds share what is right
            right_N, b_NB = wanted_N, _ranks(wanted_N, counts_NB)
        a_NB = _ranks(a_N, counts_NB)
        # times their number, so that nothing is rounded and a single digit's difference is none
        sums = (np.einsum("nb,nb,nb->b", counts_NB, x, y) for x, y in _pairs(a_NB, b_NB))
        a_b, a_a, b_b = (whole * counts_NB.sum(axis=0) for whole in sums)
        ordered = (a_a > 0) & (b_b > 0)
        rho_SB[seed] = np.divide(a_b, np.sqrt(a_a * b_b), out=np.zeros_like(a_b), where=ordered)
    return rho_SB


def rho_influence(rows_SNK: Floats) -> Floats:
    """How rho moves with the weight of each example [S, N]: its influence function, of mean zero.

    With F and G the mid-distributions less a half, rho = E[FG] / sqrt(E[FF] E[GG]). An example
    moves each E by its own product and by moving F and G for all others.
    """
    moved_SN = np.zeros(rows_SNK.shape[:2])
    one_N1 = np.ones((rows_SNK.shape[1], 1))
    for seed, (a_N, b_N) in enumerate(rows_SNK.transpose(0, 2, 1)):
        if np.isnan(a_N).any() or np.isnan(b_N).any():
            continue
        f, g = (_ranks(x_N, one_N1)[:, 0] / (2 * len(x_N)) for x_N in (a_N, b_N))
        f_g, f_f, g_g = ((x * y).mean() for x, y in _pairs(f, g))
        if not f_f or not g_g:
            continue
        own_fg, own_ff, own_gg = (x * y - (x * y).mean() for x, y in _pairs(f, g))
        moved_fg = own_fg + _above(a_N, g) + _above(b_N, f)
        moved_ff, moved_gg = own_ff + 2 * _above(a_N, f), own_gg + 2 * _above(b_N, g)
        rho = f_g / np.sqrt(f_f * g_g)
        moved_SN[seed] = moved_fg / np.sqrt(f_f * g_g) - rho / 2 * (moved_ff / f_f + moved_gg / g_g)
    return moved_SN


def _pairs(a: Floats, b: Floats) -> tuple[tuple[Floats, Floats], ...]:
    return (a, b), (a, a), (b, b)


def _ranks(values_N: Floats, counts_NB: Floats) -> Floats:
    """Twice the rank of each value among as many as were counted, less twice the mean rank.

    In halves, so that every sum of them is a whole number, and exact.
    """
    unique, group_N = np.unique(values_N, return_inverse=True)
    order_N = np.argsort(group_N, kind="stable")
    ends = np.cumsum(np.bincount(group_N, minlength=len(unique)))
    upto = np.cumsum(counts_NB[order_N], axis=0)[ends - 1]
    twice = upto - upto[-1]
    twice[1:] += upto[:-1]
    return np.asarray(twice[group_N])


def _above(values_N: Floats, weight_N: Floats) -> Floats:
    """Mean of `weight` over the examples above each value, half of it at the value; less its mean."""
    unique, group_N = np.unique(values_N, return_inverse=True)
    sums = np.bincount(group_N, weights=weight_N, minlength=len(unique))
    above = (sums.sum() - np.cumsum(sums) + sums / 2) / len(values_N)
    return np.asarray(above[group_N] - above[group_N].mean())
