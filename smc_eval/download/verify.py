"""Verifying a data folder: which files of a task are there, and whether the task can read them."""

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
    """The result of one check."""

    status: Literal["found", "missing", "checksum differs", "read", "cannot be read"]
    message: str

    @property
    def good(self) -> bool:
        """Whether the data can be complete with this finding.

        A missing file is no fault by itself: the data may be there in another form, or the file may
        belong to an option that was not chosen.
        """
        return self.status not in {"checksum differs", "cannot be read"}


def verify_task(task: Task) -> Iterator[Finding]:
    """Check each file of a task's data folder, then read the data as the task does.

    Every fold is read, and also the part that selects a checkpoint if it is not the reported one.
    """
    if task.folder not in {HUB, "synthetic"}:
        for file in data_files(task):
            yield _check_file(file, Path(task.folder))
    folds = range(task.card.folds) if task.card.folds else (None,)
    for fold in folds:
        yield from _read(task.replace(fold=fold), f"fold {fold}, " if task.card.folds else "")


def _check_file(file: DataFile, root: Path) -> Finding:
    path = file.under(root)
    if path is None:
        return Finding("missing", file.path)
    if not file.sha256 or file.in_archive:
        return Finding("found", file.path)
    try:
        sha256 = content_sha256(path)
    except SmcError as error:
        return Finding("cannot be read", first_line(error))
    if sha256 != file.sha256:
        return Finding("checksum differs", f"{file.path}: sha256 {sha256}; pinned is {file.sha256}")
    return Finding("found", f"{file.path}, sha256 as pinned")


def _read(task: Task, prefix: str) -> Iterator[Finding]:
    """Read all parts of one fold: one finding with the numbers of examples, and one for each error."""
    counts, errors = [], dict[str, str]()
    trained = guarded(task, lambda: trained_as(task))
    parts: list[tuple[str, Task, Part]] = [("train", task, "train"), ("test", task, "test")]
    if trained != task:
        parts.append(("selection", trained, "test"))
    for name, owner, part in parts:
        try:
            counts.append(f"{name} {guarded(owner, partial(_count, owner, part))}")
        except SmcError as error:
            errors.setdefault(first_line(error), name)
    try:
        guarded(task, task.sources)  # a run also needs files that only another level's score uses
    except SmcError as error:
        errors.setdefault(first_line(error), "all parts")
    if counts:
        yield Finding("read", f"{prefix}{', '.join(counts)}")
    for message, name in errors.items():
        yield Finding("cannot be read", f"{prefix}{name}: {message}")


def _count(task: Task, part: Part) -> int:
    return len(task.data(part))
