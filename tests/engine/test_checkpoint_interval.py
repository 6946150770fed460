"""Checkpoint interval: a set one is kept, and an adaptive one takes a small share of the training time."""

from __future__ import annotations

import pytest

from smc_eval.engine import checkpoint_interval
from smc_eval.engine.checkpoint_interval import CheckpointInterval


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(checkpoint_interval, "time", clock)
    return clock


def saves(clock: Clock, interval: CheckpointInterval, *, seconds: float, each: float) -> list[float]:
    """The seconds of training at each checkpoint, in steps of one second; a checkpoint takes `each`."""
    times, training = list[float](), 0.0
    while training < seconds:
        clock.now += 1
        training += 1
        if interval.due:
            times.append(training)
            with interval.saving():
                clock.now += each
    return times


def test_a_checkpoint_follows_each_interval_that_the_user_sets(clock: Clock) -> None:
    interval = CheckpointInterval(10.0, size=10**12)
    assert saves(clock, interval, seconds=35, each=5) == [11, 22, 33]


def test_quick_checkpoints_are_thirty_seconds_apart(clock: Clock) -> None:
    interval = CheckpointInterval(None, size=10**6)
    assert saves(clock, interval, seconds=100, each=0.1) == [31, 62, 93]


def test_slow_checkpoints_take_three_percent_of_the_training_time(clock: Clock) -> None:
    interval = CheckpointInterval(None, size=600 * 10**6)  # six seconds
    times = saves(clock, interval, seconds=1000, each=6)
    assert times == [200, 400, 600, 800, 1000]


def test_a_checkpoint_that_was_slower_than_predicted_delays_the_next(clock: Clock) -> None:
    interval = CheckpointInterval(None, size=0)
    assert saves(clock, interval, seconds=800, each=6) == [31, 400, 600, 800]
