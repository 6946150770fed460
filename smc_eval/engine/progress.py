"""What the engine tells while it works; a screen is one listener."""

from __future__ import annotations

from typing import Protocol

from smc_eval.store.record import Record


class Watcher(Protocol):
    """Hears of progress. Nothing that it does changes a number."""

    def begin(self, cells: int) -> None:
        """A run of so many cells begins."""

    def cell(self, number: int, label: str) -> None:
        """The number-th cell begins, counted from 1."""

    def stage(self, label: str, steps: int, done: int) -> None:
        """A stage begins, `done` of its `steps` already behind it."""

    def step(self, done: int, loss: float) -> None:
        """So many steps of the stage are done."""

    def note(self, text: str, *, warning: bool = False) -> None:
        """Something worth a line: resumed, waiting for another process; a warning is told even when quiet."""

    def result(self, result: Record) -> None:
        """A cell ended, however; also for those found finished in the store."""

    def lane(self, number: int) -> Watcher:
        """Who hears of the cells in one of several lanes, counted from 0, where many run at once."""


class Silent:
    """Listens and says nothing."""

    def begin(self, cells: int) -> None: ...

    def cell(self, number: int, label: str) -> None: ...

    def stage(self, label: str, steps: int, done: int) -> None: ...

    def step(self, done: int, loss: float) -> None: ...

    def note(self, text: str, *, warning: bool = False) -> None: ...

    def result(self, result: Record) -> None: ...

    def lane(self, number: int) -> Watcher:
        return self
