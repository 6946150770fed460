"""The time left: estimates that cost next to nothing, from several threads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from smc_eval.cli.time_left import TimeLeft


@pytest.fixture
def clock() -> Any:
    class Clock(SimpleNamespace):
        def __call__(self) -> float:
            return self.now

    return Clock(now=0.0)


class SlowForecast:
    """Takes a second for an estimate. The first says 1,000 s, each further one 100 s less."""

    def __init__(self, clock: Any) -> None:
        self.clock, self.asked = clock, 0

    def seconds_left(self, running: object, lanes: int) -> float:
        self.asked += 1
        self.clock.now += 1
        return 1_100.0 - 100 * self.asked


def test_an_estimate_that_takes_a_second_is_made_every_200_seconds_and_counts_down(clock) -> None:
    forecast = SlowForecast(clock)
    left = TimeLeft(forecast, clock)  # type: ignore[arg-type]
    assert left.seconds([], 1) == 1_000.0
    clock.now += 150
    assert left.seconds([], 1) == 850.0
    assert forecast.asked == 1
    clock.now += 50
    assert left.seconds([], 1) == 900.0  # made anew
    assert forecast.asked == 2
    clock.now += 199
    assert left.seconds([], 1) == 701.0


def test_an_estimate_is_never_below_zero_and_none_while_nothing_is_known(clock) -> None:
    class Forecast:
        left: float | None = None

        def seconds_left(self, running: object, lanes: int) -> float | None:
            clock.now += 1
            return self.left

    forecast = Forecast()
    left = TimeLeft(forecast, clock)  # type: ignore[arg-type]
    assert left.seconds([], 1) is None
    forecast.left = 5.0
    assert left.seconds([], 1) == 5.0  # asked again, as nothing was known
    clock.now += 30
    assert left.seconds([], 1) == 0.0


def test_a_cell_ends_only_between_two_estimates(clock) -> None:
    class Forecast:
        def seconds_left(self, running: object, lanes: int) -> float:
            seen.append(left._lock.locked())
            return 1.0

        def end(self, *ended: object) -> None:
            seen.append(left._lock.locked())

    seen: list[bool] = []
    left = TimeLeft(Forecast(), clock)  # type: ignore[arg-type]
    left.seconds([], 1)
    left.end(1, None, 1.0, 1)  # type: ignore[arg-type]
    assert seen == [True, True]
