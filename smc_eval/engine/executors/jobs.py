"""What a run and those who carry out its cells say to each other: settings, jobs, progress, ends."""

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
    """What all workers of a run are told once."""

    folder: Path
    device: str
    threads: int | None
    keep: frozenset[str]
    """Digests whose nets stay in the store."""
    masks: bool = False
    """Leave each cell's masks in the store."""
    devices: tuple[str, ...] = ()
    """The accelerators to share out, as CUDA_VISIBLE_DEVICES names them."""


@dataclass(frozen=True)
class Job:
    """A cell to carry out."""

    chain: Chain
    parts: int = 1
    """In how many parts it makes its forward passes."""
    again: bool = False
    """Whether a worker died of it before."""


class WorkerDied(SmcError):
    """A worker ended in the middle of a cell."""

    def __init__(self, how: str, *, killed: bool, memory: bool = False) -> None:
        self.killed = killed
        """Whether it may not have been the cell's fault, so that it is worth another try."""
        self.memory = memory
        """Whether it was killed because memory ran short, as far as can be told."""
        super().__init__(f"its worker {how}" + (" as memory ran short" if memory else ""))

    @classmethod
    def of(cls, code: int, *, memory: bool = False) -> Self:
        """The death of a process, by its exit code."""
        return cls(exit_reason(code), killed=code == -signal.SIGKILL, memory=memory)


@dataclass(frozen=True)
class Progress:
    """Something for a watcher: which verb, and what it is told."""

    verb: str
    words: tuple[Any, ...]
    more: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A cell ended; without a record, if another process has it."""

    result: Record | None


@dataclass(frozen=True)
class CannotWork:
    """The worker cannot work at all."""

    reason: str


class Executor(Protocol):
    """What a run needs of an engine. The future's result is None where another process has the cell."""

    slots: int
    """How many cells it carries out at once."""

    def submit(self, job: Job, tell: Callable[[Progress], None]) -> Future[Record | None]:
        """Carry out a cell; `tell` hears of its progress, on any thread."""

    def shutdown(self) -> None:
        """End, and what is at work with it."""


def exit_reason(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"was ended by signal {name}"
