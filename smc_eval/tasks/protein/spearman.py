"""Spearman's rank correlation of two rows of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rho in [-1, 1], with mean ranks for ties; 0 if a row is constant or holds a NaN.

    Ranks are doubled to whole numbers, so all sums are exact and the order of examples changes no digit.
    """
    a, b = _doubled_ranks(first), _doubled_ranks(second)
    n, total = len(a), sum(a)  # the ranks of both rows have the same sum
    a_b = n * sum(x * y for x, y in zip(a, b, strict=True)) - total * total
    a_a, b_b = (n * sum(x * x for x in ranks) - total * total for ranks in (a, b))
    if not a_a or not b_b or any(map(math.isnan, (*first, *second))):
        return 0.0  # our definition; it is NaN elsewhere
    return a_b / math.sqrt(a_a * b_b)


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each value, from 2 on; equal values get the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks, start = [0] * len(values), 0
    for end in range(1, len(values) + 1):
        if end == len(values) or values[order[end]] != values[order[start]]:
            for place in order[start:end]:
                ranks[place] = start + 1 + end
            start = end
    return ranks
