"""Jobs: the messages between a run and the workers that run its cells."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from smc_eval.errors import SmcError
from smc_eval.experiment.cell import Chain
from smc_eval.store.record import Record


@dataclass(frozen=True)
class WorkerSettings:
    """Settings that all workers of a run get once."""

    folder: Path
    device: str
    threads: int | None
    keep: frozenset[str]
    """Digests whose nets stay in the store."""
    masks: bool = False
    """Keep the masks of each cell in the store."""
    checkpoint_seconds: float | None = None
    """Seconds between two checkpoints of a training. None: at most 3 % of the training time goes to them."""
    devices: tuple[str, ...] = ()
    """The accelerators that the workers share, as CUDA_VISIBLE_DEVICES names them."""
    measured: bool = False
    """Report the values of steps too, for trackers."""


@dataclass(frozen=True)
class Job:
    """A cell to run."""

    chain: Chain
    parts: int = 1
    """Number of parts into which its forward passes are cut."""
    retried: bool = False
    """Whether a worker died while it ran this cell before."""
    records_read: int = 0
    """Bytes of the records file that the run has searched for a finished record of the cell."""


class WorkerDied(SmcError):
    """A worker ended in the middle of a cell."""

    def __init__(self, how: str, *, killed: bool, memory: bool = False) -> None:
        self.killed = killed
        """Whether the cause may not be the cell itself, so that another try is worthwhile."""
        self.memory = memory
        """Whether it was killed because memory ran short, as far as is known."""
        super().__init__(f"its worker {how}" + (" as memory ran short" if memory else ""))

    @classmethod
    def by_exit_code(cls, code: int, *, memory: bool = False) -> Self:
        """The death of a process that ended with an exit code."""
        return cls(exit_reason(code), killed=code == -signal.SIGKILL, memory=memory)


@dataclass(frozen=True)
class Progress:
    """A call of a watcher's method, in another process."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A cell ended. The record is None if another process works on the cell."""

    record: Record | None


@dataclass(frozen=True)
class CannotWork:
    """The worker cannot run any cell."""

    reason: str


class Executor(Protocol):
    """Runs cells, wherever that is. A future's result is None if another process works on the cell."""

    slots: int
    """Number of cells that it runs at once."""

    def submit(self, job: Job, report: Callable[[Progress], None]) -> Future[Record | None]:
        """Run a cell; `report` gets its progress, on any thread."""

    def shutdown(self) -> None:
        """End, with all cells in progress."""


def exit_reason(code: int) -> str:
    """A phrase for an exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"was ended by signal {name}"
