"""Student's t: against tables and numerical integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.statistics.student import quantile, two_sided

# Two-sided 95 % and 99 % points from a table of the distribution.
TABLE = {1: (12.7062, 63.6567), 2: (4.3027, 9.9248), 4: (2.7764, 4.6041), 9: (2.2622, 3.2498)} | {
    30: (2.0423, 2.7500),
    120: (1.9799, 2.6174),
    math.inf: (1.9600, 2.5758),
}


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_are_those_of_the_tables(freedom: float) -> None:
    assert (quantile(0.95, freedom), quantile(0.99, freedom)) == pytest.approx(TABLE[freedom], abs=6e-5)


@given(st.floats(0, 30), st.floats(0.5, 400))
def test_tails_are_the_integral_of_the_density(t: float, freedom: float) -> None:
    # t = root(freedom) tan(angle) makes the density a power of the cosine
    angle = np.linspace(0, math.atan(t / math.sqrt(freedom)), 20001)
    power = np.cos(angle) ** (freedom - 1)
    area = (power[1:] + power[:-1]).sum() / 2 * (angle[1] - angle[0])
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    assert two_sided(t, freedom) == pytest.approx(1 - 2 * scale * area, abs=1e-6)


@given(st.floats(0.01, 0.999), st.floats(1, 1e6))
def test_quantile_and_tail_are_inverse(level: float, freedom: float) -> None:
    assert two_sided(quantile(level, freedom), freedom) == pytest.approx(1 - level, rel=1e-8)


def test_one_degree_of_freedom_is_the_cauchy_distribution() -> None:
    assert two_sided(1.0, 1) == pytest.approx(0.5)
    assert two_sided(1e9, 1) == pytest.approx(2 / math.pi * 1e-9, rel=1e-6)


def test_the_change_to_the_normal_distribution_is_continuous() -> None:
    assert two_sided(2.5, 99_999) == pytest.approx(two_sided(2.5, 100_001), rel=2e-4)
    assert two_sided(math.inf, 3) == 0 and two_sided(0, 3) == 1
