"""Binders: cells bound to what their tasks read, or the reason why not, cell by cell."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from smc_eval.cell import Cell, Chain, chain
from smc_eval.errors import PluginError, SmcError, UsageError
from smc_eval.results import Result, failed, opened
from smc_eval.spec import Spec
from smc_eval.task import Source

T = TypeVar("T")


@dataclass(frozen=True)
class Bound:
    """A cell and its chain, or why there is none."""

    cell: Cell
    chain: Chain | None
    error: SmcError | None = None

    @property
    def record(self) -> Result:
        """The record of a cell that cannot run: failed, or skipped where its method refuses the target."""
        result = opened(self.cell)
        if isinstance(self.error, Refused):
            return replace(result, reason=str(self.error))
        return failed(result, str(self.error))


class Refused(UsageError):
    """A method cannot make a target; the other cells are none the worse for it."""


class Binder:
    """Binds cells to what their tasks read. Each task is read once, however many cells it has."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str], tuple[tuple[Source, ...], int] | SmcError] = {}

    def bind(self, cell: Cell) -> Chain:
        """The chain of a cell.

        Raises:
            UsageError: the data, the model or the target is not to be had.
            PluginError: a plugin failed in a way it should not.
        """
        try:
            cell.method.accept(cell.target)
        except UsageError as error:
            raise Refused(str(error)) from None
        key = cell.task.digest(), cell.task.folder
        if key not in self._read:
            try:
                self._read[key] = guarded(
                    cell.task, lambda: (cell.task.sources(), len(cell.task.data("train")))
                )
            except SmcError as error:
                self._read[key] = error
        read = self._read[key]
        if isinstance(read, SmcError):
            raise read
        return guarded(cell.method, lambda: chain(cell, *read))

    def bound(self, cells: Iterable[Cell]) -> list[Bound]:
        """Every cell with its chain or its error, in order.

        Raises:
            UsageError: no cell can run, and every one for a reason the user can mend.
        """
        found = list[Bound]()
        for cell in cells:
            try:
                found.append(Bound(cell, self.bind(cell)))
            except SmcError as error:
                found.append(Bound(cell, None, error))
        if not any(one.chain for one in found) and all(isinstance(one.error, UsageError) for one in found):
            reasons = list(dict.fromkeys(str(one.error) for one in found))
            more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
            raise UsageError(reasons[0] + more)
        return found


def idle(squares: Iterable[Bound]) -> list[str]:
    """What cannot run and why, a line for each reason."""
    reasons = dict[str, list[str]]()
    for square in squares:
        if not square.chain:
            reasons.setdefault(str(square.error), []).append(square.cell.label)
    return [
        f"{len(labels)} cells cannot run ({labels[0]}{', …' if len(labels) > 1 else ''}): {reason}"
        for reason, labels in reasons.items()
    ]


def guarded(plugin: Spec, verb: Callable[[], T]) -> T:
    """Run a plugin's verb; what it may not raise becomes an error that names it.

    Raises:
        SmcError: the verb's own; a PluginError for anything else.
    """
    try:
        return verb()
    except SmcError:
        raise
    except Exception as error:  # whatever a stranger's code may raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        told = str(error).partition("\n")[0]
        raise PluginError(f"{plugin.kind()} failed: {type(error).__name__}: {told} ({where})") from error
