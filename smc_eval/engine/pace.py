"""Pace: how often something may happen that costs time and changes no result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SecondsNow = Callable[[], float]

LARGEST_SHARE = 0.005
"""Share of the time that may be spent. Of the work of a process that has part of a core, it is more."""


class Pace:
    """At most once in so many seconds, and so rarely that it takes at most 0.5 % of the time."""

    def __init__(
        self, seconds: float, clock: SecondsNow = time.monotonic, meter: SecondsNow = time.perf_counter
    ) -> None:
        self.seconds, self.clock, self.meter = seconds, clock, meter
        self._next = clock()

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return self.clock() >= self._next

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Within, the time is measured; it decides when the next time is due."""
        began = self.meter()
        try:
            yield
        finally:
            self._next = self.clock() + max(self.seconds, (self.meter() - began) / LARGEST_SHARE)
