"""Corpus BLEU of weighted sentences, from their n-gram counts, and the influence of each sentence."""

# S seeds, N sentences, K = 10: matching n-grams (1 to 4), n-grams of the hypothesis (1 to 4), words of the
# hypothesis, words of the reference; O orders of n-grams; B resamples, counts of each sentence.

from __future__ import annotations

import numpy as np

from smc_eval.statistics.shapes import Floats

ORDERS = 4


def resampled_bleu(rows_SNK: Floats, counts_NB: Floats) -> Floats:
    """BLEU [S, B] in per cent: Papineni et al. (2002), smoothed as sacrebleu's `exp` does by default.

    The first order without a match counts as half a matching n-gram, the next as a quarter
    (Chen & Cherry (2014), method 3). BLEU is 0 if no order has a match, or if the hypotheses have no
    n-gram of some order.
    """
    sums_SKB = np.einsum("snk,nb->skb", rows_SNK, counts_NB, optimize=True)
    return _bleu(sums_SKB)


def bleu_influence(rows_SNK: Floats) -> Floats:
    """Influence of each sentence on BLEU [S, N]: the derivative by its weight, of mean zero."""
    sums_SK = rows_SNK.sum(axis=1)
    match_SO, total_SO = sums_SK[:, :ORDERS], sums_SK[:, ORDERS : 2 * ORDERS]
    hypothesis_S, reference_S = sums_SK[:, -2], sums_SK[:, -1]
    slope_SK = np.zeros_like(sums_SK)
    slope_SK[:, :ORDERS] = _inverse(match_SO) / ORDERS
    slope_SK[:, ORDERS : 2 * ORDERS] = -_inverse(total_SO) / ORDERS
    short_S = hypothesis_S < reference_S
    slope_SK[:, -2] = short_S * reference_S * _inverse(hypothesis_S) ** 2
    slope_SK[:, -1] = short_S * -_inverse(hypothesis_S)
    bleu_S = _bleu(sums_SK[..., None])[:, 0]
    influence_SN = rows_SNK.shape[1] * np.einsum("snk,sk,s->sn", rows_SNK, slope_SK, bleu_S)
    return np.asarray(influence_SN - influence_SN.mean(axis=1, keepdims=True))


def _bleu(sums_SKB: Floats) -> Floats:
    match_SOB, total_SOB = sums_SKB[:, :ORDERS], sums_SKB[:, ORDERS : 2 * ORDERS]
    hypothesis_SB, reference_SB = sums_SKB[:, -2], sums_SKB[:, -1]
    none_SOB = match_SOB == 0
    smoothed_SOB = np.where(none_SOB, 0.5 ** np.cumsum(none_SOB, axis=1), match_SOB)
    valid_SB = (match_SOB > 0).any(axis=1) & (total_SOB > 0).all(axis=1)
    precision_SOB = 100 * smoothed_SOB * _inverse(total_SOB)
    log_SB = np.log(np.where(precision_SOB > 0, precision_SOB, 1.0)).sum(axis=1) / ORDERS
    brevity_SB = np.minimum(1.0, np.exp(1 - reference_SB * _inverse(hypothesis_SB)))
    return np.where(valid_SB, brevity_SB * np.exp(log_SB), 0.0)


def _inverse(values: Floats) -> Floats:
    """1 / value, and 0 for 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
