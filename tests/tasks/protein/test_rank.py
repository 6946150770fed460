"""Spearman's rho: exact, independent of the order of examples, and 0 where it is undefined."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.tasks.protein.spearman import spearman

few = st.integers(-3, 3)  # many ties
numbers = st.one_of(few, st.floats(allow_nan=False, width=32))
pairs = st.lists(st.tuples(numbers, numbers), max_size=30)


def by_counting(first: list[float], second: list[float]) -> float:
    """Pearson's correlation of ranks; each rank is counted by comparison with all other values."""

    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < value for other in values) + (1 + sum(other == value for other in values)) / 2
            for value in values
        ]

    a, b = ranks(first), ranks(second)
    mean = (len(a) + 1) / 2
    covariance = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    variance = math.prod(sum((x - mean) ** 2 for x in row) for row in (a, b))
    return covariance / math.sqrt(variance) if variance else 0.0


@pytest.mark.parametrize(
    ("first", "second", "rho"),
    [
        ([1, 2, 3], [10, 20, 90], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),  # 1 - 6 * 2 / (4 * 15)
        ([1, 1, 2], [1, 2, 3], math.sqrt(3) / 2),  # ranks 1.5, 1.5, 3
        ([1, 1, 1], [1, 2, 3], 0.0),
        ([1, 2, 3], [5, 5, 5], 0.0),
        ([4], [2], 0.0),
        ([], [], 0.0),
        ([1, math.nan, 3], [1, 2, 3], 0.0),
    ],
)
def test_cases_worked_out_by_hand(first: list[float], second: list[float], rho: float) -> None:
    assert spearman(first, second) == pytest.approx(rho, abs=1e-15)


@given(pairs)
def test_rho_equals_the_correlation_of_counted_ranks(rows: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in rows], [b for _, b in rows]
    assert spearman(first, second) == pytest.approx(by_counting(first, second), abs=1e-12)


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_examples_changes_no_digit(
    rows: list[tuple[float, float]], generator: random.Random
) -> None:
    other = generator.sample(rows, len(rows))
    first, second = [spearman([a for a, _ in these], [b for _, b in these]) for these in (rows, other)]
    assert first == second


@given(pairs)
def test_only_ranks_count(rows: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in rows], [b for _, b in rows]
    places = {value: place for place, value in enumerate(sorted(set(first)))}
    assert spearman([places[value] ** 3 for value in first], second) == spearman(first, second)
    assert -1 <= spearman(first, second) <= 1
