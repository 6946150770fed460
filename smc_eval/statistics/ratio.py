"""Ratios of two sums, such as a loss for each token: resampled, and by the influence of items."""

# S seeds, N items, B resamples.

from __future__ import annotations

import numpy as np

from smc_eval.statistics.shapes import Floats


def ratio(rows_SN2: Floats) -> Floats:
    """The sum of numerators over the sum of denominators, for each seed."""
    return np.asarray(rows_SN2[..., 0].sum(axis=1) / rows_SN2[..., 1].sum(axis=1))


def resampled_ratio(rows_SN2: Floats, counts_NB: Floats) -> Floats:
    """The ratio of each seed [S, B], with the count of each item in each resample."""
    return np.asarray((rows_SN2[..., 0] @ counts_NB) / (rows_SN2[..., 1] @ counts_NB))


def ratio_influence(rows_SN2: Floats) -> Floats:
    """Influence of each item on the ratio of its seed; those of a seed sum to zero.

    (a - R b) / mean(b) of a ratio R: the delta method, Hájek's linearization of a ratio estimator.
    """
    above_SN, below_SN = rows_SN2[..., 0], rows_SN2[..., 1]
    residual_SN = above_SN - ratio(rows_SN2)[:, None] * below_SN
    return np.asarray(residual_SN / below_SN.mean(axis=1, keepdims=True))
