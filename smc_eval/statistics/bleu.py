"""Corpus BLEU of weighted sentences, from their n-gram counts, and what each sentence adds to it."""

# S seeds, N sentences, K = 10: n-grams right (1 to 4), n-grams said (1 to 4), words said, words wanted;
# B resamples, counts of each sentence.

from __future__ import annotations

import numpy as np

from smc_eval.statistics.shapes import Floats

ORDERS = 4


def resampled_bleu(rows_SNK: Floats, counts_NB: Floats) -> Floats:
    """BLEU [S, B] in per cent: Papineni et al. (2002), smoothed as sacrebleu's `exp` does by default.

    The first order of which nothing is right counts as half an n-gram, the next as a quarter
    (Chen & Cherry (2014), method 3). No order right, or one of which nothing was said, is 0.
    """
    sums_SKB = np.einsum("snk,nb->skb", rows_SNK, counts_NB, optimize=True)
    return _bleu(sums_SKB)


def bleu_influence(rows_SNK: Floats) -> Floats:
    """How BLEU moves with the weight of each sentence [S, N]: its derivative by the sums, of mean zero."""
    sums_SK = rows_SNK.sum(axis=1)
    right_SO, said_SO = sums_SK[:, :ORDERS], sums_SK[:, ORDERS : 2 * ORDERS]
    words_S, wanted_S = sums_SK[:, -2], sums_SK[:, -1]
    slope_SK = np.zeros_like(sums_SK)
    slope_SK[:, :ORDERS] = _inverse(right_SO) / ORDERS
    slope_SK[:, ORDERS : 2 * ORDERS] = -_inverse(said_SO) / ORDERS
    short_S = words_S < wanted_S
    slope_SK[:, -2] = short_S * wanted_S * _inverse(words_S) ** 2
    slope_SK[:, -1] = short_S * -_inverse(words_S)
    bleu_S = _bleu(sums_SK[..., None])[:, 0]
    moved_SN = rows_SNK.shape[1] * np.einsum("snk,sk,s->sn", rows_SNK, slope_SK, bleu_S)
    return np.asarray(moved_SN - moved_SN.mean(axis=1, keepdims=True))


def _bleu(sums_SKB: Floats) -> Floats:
    right_SOB, said_SOB = sums_SKB[:, :ORDERS], sums_SKB[:, ORDERS : 2 * ORDERS]
    words_SB, wanted_SB = sums_SKB[:, -2], sums_SKB[:, -1]
    none_SOB = right_SOB == 0
    smoothed_SOB = np.where(none_SOB, 0.5 ** np.cumsum(none_SOB, axis=1), right_SOB)
    sound_SB = (right_SOB > 0).any(axis=1) & (said_SOB > 0).all(axis=1)
    precision_SOB = 100 * smoothed_SOB * _inverse(said_SOB)
    log_SB = np.log(np.where(precision_SOB > 0, precision_SOB, 1.0)).sum(axis=1) / ORDERS
    brevity_SB = np.minimum(1.0, np.exp(1 - wanted_SB * _inverse(words_SB)))
    return np.where(sound_SB, brevity_SB * np.exp(log_SB), 0.0)


def _inverse(values: Floats) -> Floats:
    """1 / value, and 0 for 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
