"""Student's t distribution, for any degrees of freedom, not only whole ones."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

LARGE = 1e5
"""From this many degrees of freedom on, the normal distribution is used: they differ by less than 1e-5."""

TERMS = 2000
"""Maximum terms of the continued fraction, which needs about the root of the degrees of freedom."""


def two_sided(t: float, freedom: float) -> float:
    """Two-sided p-value: the probability of a value farther from zero than `t`."""
    t = abs(t)
    if math.isinf(t):
        return 0.0
    if freedom >= LARGE:
        return math.erfc(t / math.sqrt(2))
    return _beta(freedom / (freedom + t * t), freedom / 2, 0.5)


@lru_cache(maxsize=4096)
def quantile(level: float, freedom: float) -> float:
    """The t with probability `level` between -t and t: 1.96 for 0.95 and many degrees of freedom."""
    if freedom >= LARGE:
        return NormalDist().inv_cdf((1 + level) / 2)
    low, high = 0.0, 2.0
    while two_sided(high, freedom) > 1 - level:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > 1 - level else (low, middle)
    return high


def _beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, DLMF 8.17.22, on the side where its fraction converges fast."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction 1 + d1/(1 + d2/(1 + ...)), by Lentz's method; DLMF 8.17.23."""
    value = upper = 1.0
    lower = 0.0
    for n in range(1, TERMS):
        m = n // 2
        if n % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1 / (1 + d * lower)
        upper = 1 + d / upper
        value *= upper * lower
        if abs(upper * lower - 1) < 1e-15:
            break
    return value
