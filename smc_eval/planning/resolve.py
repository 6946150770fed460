"""Resolve cells: read the data of their tasks and make their chains, or keep the error of each cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from smc_eval.capabilities import published_sizes
from smc_eval.errors import DataError, PluginError, SmcError, UsageError, counted, first_line, named_value
from smc_eval.experiment.cell import Cell, Chain, chain
from smc_eval.experiment.config import PUBLISHED
from smc_eval.registry import guarded
from smc_eval.store.record import Record, blank_record, failed_record
from smc_eval.task import BUILT_MODELS, Source, Task

NO_DATA = "no --data-dir was given"
"""Why published sizes replace data that was not read."""


@dataclass(frozen=True)
class TaskData:
    """The sources of a task, and its number of training examples."""

    sources: tuple[Source, ...]
    examples: int
    assumptions: tuple[str, ...] = ()
    """Why published sizes are used: a line for each source that was not read."""


@dataclass(frozen=True)
class ResolvedCell:
    """A cell and its chain, or the error that prevents one."""

    cell: Cell
    chain: Chain | None
    error: SmcError | None = None
    assumptions: tuple[str, ...] = ()
    """Why published sizes are used. A chain with assumptions can be planned, but not run."""
    sources: tuple[Source, ...] = ()
    """What other cells of the task read, if there are any."""

    @property
    def record(self) -> Record:
        """The record of a cell that cannot run: failed, or skipped if its method refuses the target."""
        record = blank_record(self.cell, sources=self.sources)
        if isinstance(self.error, RefusedTarget):
            return replace(record, reason=str(self.error))
        return failed_record(record, str(self.error))


class RefusedTarget(UsageError):
    """A method refuses a target. Other cells can still run."""


class Resolver:
    """Reads the data of tasks and makes the chains of cells. Each task is read once.

    With `published`, published sizes replace data and models that cannot be read, and no hub is asked for
    a model of known dimensions. That is for plans only.
    """

    def __init__(self, *, published: bool = False) -> None:
        self.published = published
        self._read: dict[tuple[str, str], TaskData | SmcError] = {}

    def resolve(self, cell: Cell) -> Chain:
        """The chain of a cell.

        Raises:
            UsageError: the data or the model is missing, or the method refuses the target.
            PluginError: a plugin failed.
        """
        return self._resolved(cell)[0]

    def resolve_all(self, cells: Iterable[Cell]) -> list[ResolvedCell]:
        """Every cell with its chain or its error, in order.

        Raises:
            UsageError: no cell can run, and each for a reason that the user can mend.
        """
        resolved = list[ResolvedCell]()
        for cell in cells:
            try:
                chain, data = self._resolved(cell)
                resolved.append(ResolvedCell(cell, chain, assumptions=data.assumptions))
            except SmcError as error:
                resolved.append(ResolvedCell(cell, None, error))
        resolved = [one if one.chain else replace(one, sources=self._sources(one.cell)) for one in resolved]
        errors = [cell.error for cell in resolved]
        if errors and all(isinstance(error, UsageError) for error in errors):
            raise UsageError(_joined(list(dict.fromkeys(map(str, errors)))))
        return resolved

    def _sources(self, cell: Cell) -> tuple[Source, ...]:
        """The sources of a cell's task, if a cell has read them."""
        data = self._read.get((cell.task.digest(), cell.task.folder))
        return data.sources if isinstance(data, TaskData) else ()

    def _resolved(self, cell: Cell) -> tuple[Chain, TaskData]:
        try:
            guarded(cell.method, lambda: cell.method.accept(cell.target))
        except UsageError as error:
            raise RefusedTarget(str(error)) from None
        task = cell.task
        key = task.digest(), task.folder
        if key not in self._read:
            try:
                self._read[key] = guarded(
                    task, lambda: assume_task(task) if self.published else read_task(task)
                )
            except SmcError as error:
                self._read[key] = error
        data = self._read[key]
        if isinstance(data, SmcError):
            raise data
        return guarded(cell.method, lambda: chain(cell, data.sources, data.examples)), data


def read_task(task: Task) -> TaskData:
    """The data of a task.

    Raises:
        DataError: the data is missing, or `--data-dir published` names only its sizes.
        ModelError: the model is missing.
    """
    refuse_sizes_alone(task)
    return TaskData(_sources(task), len(task.data("train")))


def _sources(task: Task) -> tuple[Source, ...]:
    """What a task reads.

    Raises:
        PluginError: it gives something else than sources.
    """
    sources: object = task.sources()
    if not isinstance(sources, tuple) or not all(map(_fits, sources)):
        raise PluginError(
            f"{task.identity} gave {named_value(sources)} as its sources; wanted a tuple of Source"
        )
    return sources


def _fits(source: object) -> bool:
    if not isinstance(source, Source):
        return False
    role, name, digest = map(type, (source.role, source.name, source.digest))
    return role is name is digest is str and source.role in {"data", "model"}


def assume_task(task: Task) -> TaskData:
    """The data of a task; published sizes replace data and models that are missing.

    Raises:
        DataError: the data is missing, and its sizes are not published.
        ModelError: the model is missing, and its dimensions are not published.
    """
    assumptions = unread_model(task)
    try:
        if not assumptions:
            return read_task(task)
        refuse_sizes_alone(task)
        count = len(task.data("train"))
    except DataError as error:
        if (sizes := published_sizes(task)) is None:
            raise
        why = NO_DATA if task.folder == PUBLISHED else first_line(error)
        assumptions = (*assumptions, why)
        count = min(sizes.train, task.limit or sizes.train)
    sources = (Source("data", task.folder, PUBLISHED), Source("model", task.backbone, PUBLISHED))
    return TaskData(sources, count, assumptions)


def refuse_sizes_alone(task: Task) -> None:
    """Refuse a task whose data folder is `published`.

    Raises:
        DataError: `--data-dir published` names only sizes.
    """
    if task.folder == PUBLISHED:
        raise DataError(
            f"--data-dir {PUBLISHED} has only sizes, for plans; to run, give a folder with the data "
            "(--data-dir DIR) or synthetic data (--data-dir synthetic)"
        )


def unread_model(task: Task) -> tuple[str, ...]:
    """Why the published dimensions of a task's model are used; empty if the model is read.

    Raises:
        ModelError: there is no such model, or it cannot be reached and is not published for any task.
    """
    # imported here, because it loads all tasks
    from smc_eval.tasks import backbone, dimensions

    word = task.backbone
    if word in BUILT_MODELS:
        return ()
    published = word == task.card.published or word in dimensions.published_dimensions()
    if published and not backbone.available_offline(word):
        return (f"the model {word!r} is not in the local cache",)
    backbone.config_of(word)
    return ()


def _joined(reasons: Sequence[str]) -> str:
    """Several reasons in at most three lines; a single one as it is."""
    if len(reasons) == 1:
        return reasons[0]
    also = [f"also: {first_line(reason)}" for reason in reasons[1:3]]
    if (more := len(reasons) - 3) > 0:
        others = counted(more, "more reason")
        also[-1] += f"; and {others}, shown if you run one task at a time"
    return "\n".join([first_line(reasons[0]), *also])


def unresolved_lines(cells: Iterable[ResolvedCell]) -> list[str]:
    """The cells that cannot run, a line for each reason."""
    return _reason_lines(((str(one.error), one.cell) for one in cells if not one.chain), "cannot run")


def assumption_lines(cells: Iterable[ResolvedCell]) -> list[str]:
    """The cells that are planned with published sizes, a line for each reason."""
    return _reason_lines(
        ((reason, one.cell) for one in cells for reason in one.assumptions), "planned with published sizes"
    )


def _reason_lines(reasons_and_cells: Iterable[tuple[str, Cell]], predicate: str) -> list[str]:
    reasons = dict[str, list[str]]()
    for reason, cell in reasons_and_cells:
        reasons.setdefault(reason, []).append(cell.label)
    lines = []
    for reason, labels in reasons.items():
        more = ", …" if len(labels) > 1 else ""
        lines.append(f"{counted(len(labels), 'cell')} {predicate} ({labels[0]}{more}): {reason}")
    return lines
