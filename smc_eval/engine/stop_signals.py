"""Stop signals: SIGINT, SIGTERM and SIGHUP end a run, and a training first saves a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""The signals, as far as the system has them."""


class Stopped(KeyboardInterrupt):
    """A signal ends the run."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code of a program that the signal ended, as shells give it."""
        return 128 + self.number


class StopSignals:
    """The handler of the stop signals of this process, and whether one has come."""

    def __init__(self) -> None:
        self.deferring = False
        self.pending: int | None = None
        """The signal that came while signals were deferred."""

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Within, each signal raises `Stopped`. Signals that this process ignores stay ignored.

        Only the main thread of a process can handle signals; in others nothing changes.
        """
        numbers = [number for name in SIGNAL_NAMES if (number := getattr(signal, name, None)) is not None]
        if threading.current_thread() is not threading.main_thread():
            numbers = []
        before = {number: signal.getsignal(number) for number in numbers}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._receive)
        try:
            yield
        finally:
            self.pending = None
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, the first signal waits for `check` or the end of the block. A second one does not wait."""
        self.deferring = True
        try:
            yield
        finally:
            self.deferring = False
        self.check()

    def check(self) -> None:
        """Raise `Stopped` if a signal waits."""
        if self.pending is not None:
            number, self.pending = self.pending, None
            raise Stopped(number)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if not self.deferring or self.pending is not None:
            raise Stopped(number)
        self.pending = number


STOP_SIGNALS = StopSignals()
"""Those of this process."""
