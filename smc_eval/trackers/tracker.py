"""A Tracker: shows the values of running cells in another program, such as a dashboard."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from smc_eval.errors import UsageError
from smc_eval.spec import Card, Json, Spec, label


class TrackerCard(Card):
    """The card of a tracker."""

    packages: tuple[str, ...] = ()
    """Modules that it imports. Without one, `--track` refuses it before anything runs."""
    install: str = ""
    """What `pip install` needs for these; empty means the packages have the names of the modules."""


@dataclass(frozen=True)
class TrackedCell:
    """A cell, as a tracker sees it."""

    id: str
    """The digest of the cell, 64 hexadecimal digits: the same in each run that computes or continues it."""
    label: str
    """Task, method, sparsity and seed in words: `csqa lth 0.5 seed 0`."""
    group: str
    """The grid that it belongs to, the same for all cells of a command and for all who work on its store."""
    store: Path
    """The folder of the store, absolute; files of a tracker may go there."""
    config: Mapping[str, Json]
    """What was asked, one value a key: task, method, sparsity, seed, `recipe.lr`, …"""

    @property
    def name(self) -> str:
        """The label with the beginning of the digest: no two cells have the same."""
        return f"{self.label} {self.id[:8]}"

    @property
    def file_name(self) -> str:
        """The name with `_` for all that may not be in the name of a file."""
        return re.sub(r"[^\w.=-]+", "_", self.name)


@dataclass(frozen=True)
class Outcome:
    """How a cell ended."""

    status: Literal["ok", "failed", "stopped"]
    """`stopped`: the run was interrupted, and the next one with this cell continues it."""
    step: int
    """Optimizer steps of the cell; of a cell that did not end well, the last that was logged."""
    values: Mapping[str, float]
    """`score`, `sparsity` and `certificate` (1 if all checks passed, else 0); empty without a score."""
    reason: str = ""
    """Why it failed, or which checks of the certificate did."""
    record: Mapping[str, Any] | None = None
    """The whole record, as `results.jsonl` has it; None for a cell that was stopped."""


class TrackedRun(ABC):
    """One cell that is being tracked. All calls come from one thread, one after the other."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Values after an optimizer step of the cell: `loss`, `learning_rate` and `sparsity`.

        Steps are counted over all trainings of the cell. A cell that continues from a checkpoint may bring
        steps that were logged before, with the same values.
        """

    @abstractmethod
    def end(self, outcome: Outcome) -> None:
        """The last call. All values must be safe when it returns."""


class Tracker(Spec):
    """A tracker: `--track NAME`, with options as in `--track mlflow:experiment=pruning`.

    The engine calls it in a thread of its own, in the process of the command, and on rank 0 alone. An error
    of a tracker is shown once; then it is not called again. No result depends on it.
    """

    card: ClassVar[TrackerCard]

    def check(self) -> None:
        """Refuse, before anything runs, what cannot work on this machine. A tracker may extend it.

        Raises:
            UsageError: a package is not installed.
        """
        card = self.card
        for package in card.packages:
            if not is_installed(package):
                install = card.install or " ".join(card.packages)
                raise UsageError(f"--track {card.name} needs {package}: pip install '{install}'")

    @abstractmethod
    def begin(self, cell: TrackedCell) -> TrackedRun:
        """The run of a cell: a new one, or the earlier one of the same `cell.id`, which it continues.

        Several cells may have begun at a time.
        """

    @property
    def label(self) -> str:
        """Name and options that differ from the defaults: `mlflow:experiment=pruning`."""
        return label(self.card.name, self)


def is_installed(package: str) -> bool:
    """Whether a module can be imported, judged without importing it."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # its parent is missing or broken
        return False
