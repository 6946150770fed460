"""The time left for a grid, as a progress display asks for it: often, and from several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from smc_eval.engine.pace import Pace
from smc_eval.planning.forecast import Forecast, RunningCell
from smc_eval.store.record import Record


class TimeLeft:
    """Seconds until a grid ends. An estimate grows with the grid, so it is made anew now and then.

    It takes at most the share of the time that `Pace` allows. Between two estimates the last one counts down.
    """

    def __init__(self, forecast: Forecast, clock: Callable[[], float]) -> None:
        self._forecast, self._clock = forecast, clock
        self._pace = Pace(0.0, clock, meter=clock)
        self._lock = Lock()
        self._last: float | None = None
        self._made_at = clock()

    def end(self, number: int, record: Record, seconds: float | None, trained: int) -> None:
        """A cell ended; see `Forecast.end`."""
        with self._lock:
            self._forecast.end(number, record, seconds, trained)

    def seconds(self, running: Sequence[RunningCell], lanes: int) -> float | None:
        """The estimate; None while nothing is known about the cells."""
        with self._lock:
            if self._last is None or self._pace.due:
                with self._pace.spending():
                    self._last = self._forecast.seconds_left(running, lanes)
                self._made_at = self._clock()
            passed = self._clock() - self._made_at
        return None if self._last is None else max(0.0, self._last - passed)
