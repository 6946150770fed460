"""Binders: cells bound to what their tasks read, or the reason why not, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from smc_eval.capabilities import published_sizes
from smc_eval.errors import DataError, SmcError, UsageError, first_line
from smc_eval.experiment.cell import Cell, Chain, chain
from smc_eval.experiment.config import PUBLISHED
from smc_eval.registry import guarded
from smc_eval.store.record import Record, blank_record, failed_record
from smc_eval.task import BUILT_MODELS, Source, Task


@dataclass(frozen=True)
class TaskData:
    """What a task reads: from where, and how many training examples."""

    sources: tuple[Source, ...]
    examples: int
    supposed: tuple[str, ...] = ()
    """What of it was not read, but counted as published, and why."""


@dataclass(frozen=True)
class ResolvedCell:
    """A cell and its chain, or why there is none."""

    cell: Cell
    chain: Chain | None
    error: SmcError | None = None
    supposed: tuple[str, ...] = ()
    """What its chain takes as published; such a chain can be planned with, and not run."""

    @property
    def record(self) -> Record:
        """The record of a cell that cannot run: failed, or skipped where its method refuses the target."""
        result = blank_record(self.cell)
        if isinstance(self.error, RefusedTarget):
            return replace(result, reason=str(self.error))
        return failed_record(result, str(self.error))


class RefusedTarget(UsageError):
    """A method cannot make a target; the other cells are none the worse for it."""


class Resolver:
    """Binds cells to what their tasks read. Each task is read once, however many cells it has.

    With `published`, what cannot be read counts as it was published, and no hub is asked for a model whose
    dimensions are known: good for a plan, and for nothing else.
    """

    def __init__(self, *, published: bool = False) -> None:
        self.published = published
        self._read: dict[tuple[str, str], TaskData | SmcError] = {}

    def resolve(self, cell: Cell) -> Chain:
        """The chain of a cell.

        Raises:
            UsageError: the data, the model or the target is not to be had.
            PluginError: a plugin failed in a way it should not.
        """
        return self._bound(cell)[0]

    def resolve_all(self, cells: Iterable[Cell]) -> list[ResolvedCell]:
        """Every cell with its chain or its error, in order.

        Raises:
            UsageError: no cell can run, and every one for a reason the user can mend.
        """
        found = list[ResolvedCell]()
        for cell in cells:
            try:
                bound, reading = self._bound(cell)
                found.append(ResolvedCell(cell, bound, supposed=reading.supposed))
            except SmcError as error:
                found.append(ResolvedCell(cell, None, error))
        if not any(one.chain for one in found) and all(isinstance(one.error, UsageError) for one in found):
            reasons = list(dict.fromkeys(str(one.error) for one in found))
            more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
            raise UsageError(reasons[0] + more)
        return found

    def _bound(self, cell: Cell) -> tuple[Chain, TaskData]:
        try:
            cell.method.accept(cell.target)
        except UsageError as error:
            raise RefusedTarget(str(error)) from None
        task = cell.task
        key = task.digest(), task.folder
        if key not in self._read:
            try:
                self._read[key] = guarded(
                    task, lambda: suppose_task(task) if self.published else read_task(task)
                )
            except SmcError as error:
                self._read[key] = error
        read = self._read[key]
        if isinstance(read, SmcError):
            raise read
        return guarded(cell.method, lambda: chain(cell, read.sources, read.examples)), read


def read_task(task: Task) -> TaskData:
    """What a task reads.

    Raises:
        DataError: the data is not there, or only its published sizes are named.
        ModelError: the model is not there.
    """
    refuse_sizes_alone(task)
    return TaskData(task.sources(), len(task.data("train")))


def suppose_task(task: Task) -> TaskData:
    """What a task reads, or would read: what is not there counts as it was published.

    Raises:
        DataError: the data is not there, and its sizes are not published.
        ModelError: the model is not there, and its dimensions are not published.
    """
    told = unread_model(task)
    try:
        if not told:
            return read_task(task)
        refuse_sizes_alone(task)
        count = len(task.data("train"))
    except DataError as error:
        if (sizes := published_sizes(task)) is None:
            raise
        why = "no data is named" if task.folder == PUBLISHED else first_line(error)
        told = (*told, why)
        count = min(sizes.train, task.limit or sizes.train)
    sources = (Source("data", task.folder, PUBLISHED), Source("model", task.backbone, PUBLISHED))
    return TaskData(sources, count, told)


def refuse_sizes_alone(task: Task) -> None:
    """Refuse a task whose data is no data.

    Raises:
        DataError: only its published sizes are named.
    """
    if task.folder == PUBLISHED:
        raise DataError(
            f"data {PUBLISHED!r} is sizes alone, to plan with; to run, name a folder with the data: "
            "--data-dir DIR, or synthetic data: --data-dir synthetic"
        )


def unread_model(task: Task) -> tuple[str, ...]:
    """Why a task's model counts as it was published; nothing where it is read.

    Raises:
        ModelError: there is no such model, or it cannot be reached and its dimensions are not published.
    """
    # here, or the program's help would have all tasks made
    from smc_eval.tasks import backbone, dimensions

    word = task.backbone
    if word in BUILT_MODELS:
        return ()
    if word in dimensions.published_dimensions() and not backbone.available_offline(word):
        return (f"the model {word!r} is not in the local cache",)
    backbone.config_of(word)
    return ()


def unresolved_lines(squares: Iterable[ResolvedCell]) -> list[str]:
    """What cannot run and why, a line for each reason."""
    return _told(((str(one.error), one.cell) for one in squares if not one.chain), "cannot run")


def supposed_lines(squares: Iterable[ResolvedCell]) -> list[str]:
    """What is planned by published sizes alone and why, a line for each reason."""
    return _told(((why, one.cell) for one in squares for why in one.supposed), "planned by published sizes")


def _told(found: Iterable[tuple[str, Cell]], what: str) -> list[str]:
    reasons = dict[str, list[str]]()
    for reason, cell in found:
        reasons.setdefault(reason, []).append(cell.label)
    return [
        f"{len(labels)} cells {what} ({labels[0]}{', …' if len(labels) > 1 else ''}): {reason}"
        for reason, labels in reasons.items()
    ]
