"""Progress: what the engine reports while it runs, for a screen or any other watcher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from smc_eval.store.record import Record

TRAINING = "train "
"""How the label of a training begins: `train 32 steps`."""


@dataclass(frozen=True)
class StepValues:
    """The values of an optimizer step, beside its loss."""

    step: int
    """Optimizer steps of the cell so far, over all its trainings."""
    learning_rate: float
    """The largest of all groups of parameters."""
    sparsity: float | None
    """Share of the weights in scope that masks prune; None where other ranks hold parts of the masks."""


class Watcher(Protocol):
    """Receives progress. No number depends on it."""

    def begin(self, cells: int) -> None:
        """A run of so many cells begins."""

    def cell(self, number: int, label: str) -> None:
        """A cell begins; cells are numbered from 1."""

    def stage(self, label: str, steps: int, done: int) -> None:
        """A stage begins; `done` of its `steps` are done already."""

    def measure(self, read: Callable[[], StepValues]) -> None:
        """`read` gives the values of the last step from now on. It costs time: a few calls a second."""

    def step(self, done: int, loss: float | None) -> None:
        """So many steps of the stage are done; the loss is None if the stage has none."""

    def note(self, text: str, *, warning: bool = False) -> None:
        """A message, such as a resumed training or a wait. Warnings are shown even with `--quiet`."""

    def result(self, result: Record) -> None:
        """A cell ended, with any status. Also called for cells that were finished before the run."""

    def lane(self, number: int) -> Watcher:
        """The watcher of one of several lanes, numbered from 0, where many cells run at once."""


class Silent:
    """A watcher that shows nothing."""

    def begin(self, cells: int) -> None: ...

    def cell(self, number: int, label: str) -> None: ...

    def stage(self, label: str, steps: int, done: int) -> None: ...

    def measure(self, read: Callable[[], StepValues]) -> None: ...

    def step(self, done: int, loss: float | None) -> None: ...

    def note(self, text: str, *, warning: bool = False) -> None: ...

    def result(self, result: Record) -> None: ...

    def lane(self, number: int) -> Watcher:
        return self
