"""Schedules: values of the papers' equations, and steps within training."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.sparse.schedule import cosine, cubic, spacing, window


@pytest.mark.parametrize(
    ("share", "sparsity"), [(0, 0.0), (0.25, 0.4625), (0.5, 0.7), (0.75, 0.7875), (1, 0.8)]
)
def test_the_cubic_rises_fast_at_first_and_slowly_at_the_end(share: float, sparsity: float) -> None:
    # 0.8 (1 - (1 - share)^3): 0.8 times 0, 37/64, 7/8, 63/64, 1
    assert cubic(0.0, 0.8, share) == pytest.approx(sparsity)


def test_the_cubic_starts_at_the_initial_sparsity() -> None:
    assert [cubic(0.5, 0.9, share) for share in (0, 0.5, 1)] == pytest.approx([0.5, 0.85, 0.9])


def test_the_cosine_falls_by_half_a_wave() -> None:
    # alpha / 2 (1 + cos(pi t / T)), which at a third of the way is three quarters of alpha
    assert [cosine(0.4, 0.0, share) for share in (0, 1 / 3, 0.5, 1)] == pytest.approx([0.4, 0.3, 0.2, 0.0])
    assert cosine(0.5, 0.005, 0.5) == pytest.approx(0.2525)
    assert cosine(0.3, 0.3, 0.7) == 0.3


@given(st.integers(1, 40_000), st.floats(0, 1), st.floats(0, 1))
def test_the_first_and_last_step_of_a_window_are_within_training(
    steps: int, share: float, other: float
) -> None:
    first, last = window(steps, min(share, other), max(share, other))
    assert 0 <= first <= last < steps


@given(st.integers(0, 40_000), st.integers(1, 2_000), st.integers(1, 50))
def test_a_short_training_has_as_many_events(span: int, every: int, events: int) -> None:
    interval = spacing(span, every, events)
    assert 1 <= interval <= every
    assert interval == 1 or span // interval >= events
    assert interval == every or span // (interval + 1) < events
