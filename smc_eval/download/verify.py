"""Verifying a data folder: which files of a task it has and lacks, and whether the task can read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from smc_eval.capabilities import data_files, trained_as
from smc_eval.data_file import DataFile
from smc_eval.errors import SmcError, first_line
from smc_eval.registry import guarded
from smc_eval.task import Part, Task
from smc_eval.tasks.folder import content_sha256
from smc_eval.tasks.hub import HUB


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    status: Literal["has", "lacks", "differs", "read", "fails"]
    what: str

    @property
    def good(self) -> bool:
        """Whether the task can be whole with it. A file may be lacking if the task reads without it:
        another form of the data may lie there, or it is of an option that was not chosen."""
        return self.status not in {"differs", "fails"}


def verify_task(task: Task) -> Iterator[Finding]:
    """What a task's data folder has and lacks, file by file, and what the task's own reader says of it.

    Every fold is read, and with it the part that selects a net where that is another.
    """
    if task.folder not in {HUB, "synthetic"}:
        for one in data_files(task):
            yield _file(one, Path(task.folder))
    folds = range(task.card.folds) if task.card.folds else (None,)
    for fold in folds:
        yield from _read(task.replace(fold=fold), f"fold {fold}, " if task.card.folds else "")


def _file(one: DataFile, root: Path) -> Finding:
    path = one.under(root)
    if path is None:
        return Finding("lacks", one.path)
    if not one.sha256 or one.in_archive:
        return Finding("has", one.path)
    try:
        found = content_sha256(path)
    except SmcError as error:
        return Finding("fails", first_line(error))
    if found != one.sha256:
        return Finding("differs", f"{one.path}: sha256 {found}; pinned is {one.sha256}")
    return Finding("has", f"{one.path}, sha256 as pinned")


def _read(task: Task, where: str) -> Iterator[Finding]:
    counts, faults = [], dict[str, str]()
    trained = guarded(task, lambda: trained_as(task))
    parts: list[tuple[str, Task, Part]] = [("train", task, "train"), ("test", task, "test")]
    if trained != task:
        parts.append(("selection", trained, "test"))
    for name, one, part in parts:
        try:
            counts.append(f"{name} {guarded(one, partial(_count, one, part))}")
        except SmcError as error:
            faults.setdefault(first_line(error), name)
    try:
        guarded(task, task.sources)  # a run asks for files, too, that are only another level's
    except SmcError as error:
        faults.setdefault(first_line(error), "all of it")
    if counts:
        yield Finding("read", f"{where}{', '.join(counts)}")
    for fault, name in faults.items():
        yield Finding("fails", f"{where}{name}: {fault}")


def _count(task: Task, part: Part) -> int:
    return len(task.data(part))
