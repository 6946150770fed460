"""Statistics of scores: intervals over seeds and items, paired comparisons, and curves over sparsity."""

from __future__ import annotations

from smc_eval.statistics.curve import Area, Curve, SparsityAtRetention, retained, suite
from smc_eval.statistics.interval import Interval, interval, over_seeds
from smc_eval.statistics.paired import Comparison, compare_samples, holm, seeds_needed
from smc_eval.statistics.sample import Sample

__all__ = [
    "Area",
    "Comparison",
    "Curve",
    "Interval",
    "Sample",
    "SparsityAtRetention",
    "compare_samples",
    "holm",
    "interval",
    "over_seeds",
    "retained",
    "seeds_needed",
    "suite",
]
