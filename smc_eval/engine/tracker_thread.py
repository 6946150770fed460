"""Tracker thread: one tracker at work, apart from all that computes, and without harm if it fails."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import IO, Any, cast

from smc_eval.engine.pace import Pace
from smc_eval.errors import first_line
from smc_eval.store.tracked_cells import TrackedCells
from smc_eval.trackers.tracker import Outcome, TrackedCell, TrackedRun, Tracker

LOG_SECONDS = 0.25
"""Seconds between two steps that are logged."""
MOST_WAITING = 10_000
"""Calls that may wait for a slow tracker. Then further steps are left out, but no beginning and no end."""

Warn = Callable[[str], object]


class TrackerThread:
    """Calls a tracker in a thread. After its first error it warns once, and calls it no more."""

    def __init__(self, tracker: Tracker, shown: TrackedCells, warn: Warn) -> None:
        self.tracker, self.shown, self.warn = tracker, shown, warn
        self.silent = False
        self._before = shown.read()
        self._runs: dict[str, TrackedRun] = {}
        self._paces: dict[str, Pace] = {}
        self._calls = SimpleQueue[Callable[[], None] | None]()
        self._thread = threading.Thread(target=self._work, name=f"tracker {tracker.label}", daemon=True)
        self._thread.start()

    def begin(self, cell: TrackedCell) -> None:
        """A cell begins or continues. This and the other calls return at once."""
        self._calls.put(partial(self._begin, cell))

    def log(self, cell: str, step: int, values: Mapping[str, float], *, last: bool = False) -> None:
        """Values of a step. Those of the last step of a training are always logged."""
        if self._calls.qsize() < MOST_WAITING:
            self._calls.put(partial(self._log, cell, step, values, last=last))

    def end(self, cell: str, outcome: Outcome) -> None:
        """A cell ended."""
        self._calls.put(partial(self._end, cell, outcome))

    def show_finished(self, cell: TrackedCell, outcome: Outcome) -> None:
        """A cell was finished before this run. It is shown unless it was."""
        if cell.id not in self._before:
            self.begin(cell)
            self.end(cell.id, outcome)

    def close(self, seconds: float) -> None:
        """Wait until all calls are done, for so many seconds at most."""
        self._calls.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive() and not self.silent:
            self.silent = True
            label = self.tracker.label
            self.warn(f"tracker {label} has not ended after {seconds:g} s; its last values may be missing")

    def _work(self) -> None:
        with muted():
            while (call := self._calls.get()) is not None:
                if self.silent:
                    continue
                try:
                    call()
                except BaseException as error:  # a tracker can raise anything
                    self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.silent:
            self.silent = True
            reason = f"{type(error).__name__}: {first_line(error)}"
            self.warn(f"tracker {self.tracker.label} failed, and shows nothing more in this run: {reason}")

    def _begin(self, cell: TrackedCell) -> None:
        self._runs[cell.id] = self.tracker.begin(cell)
        self._paces[cell.id] = Pace(LOG_SECONDS, meter=time.thread_time)

    def _log(self, cell: str, step: int, values: Mapping[str, float], *, last: bool) -> None:
        pace = self._paces[cell]
        if last or pace.due:
            with pace.spending():
                self._runs[cell].log(step, values)

    def _end(self, cell: str, outcome: Outcome) -> None:
        self._runs.pop(cell).end(outcome)
        del self._paces[cell]
        if outcome.status == "ok":
            self.shown.add(cell)


class MutableStream:
    """A standard stream that drops what muted threads write."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write, unless this thread is muted."""
        return len(text) if threading.get_ident() in _MUTED else self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


_MUTED = set[int]()
"""Threads that are muted."""


@contextmanager
def muted() -> Iterator[None]:
    """Within, this thread writes nothing to the standard streams, while `mutable_streams` is open."""
    _MUTED.add(threading.get_ident())
    try:
        yield
    finally:
        _MUTED.discard(threading.get_ident())


@contextmanager
def mutable_streams() -> Iterator[None]:
    """Within, muted threads cannot write to the standard streams; results go there."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("IO[str]", MutableStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
