"""Rescoring: scores made again from stored predictions, without a net."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import smc_eval
from smc_eval.errors import DataError, ModelError, SmcError, StoreError, UsageError, first_line
from smc_eval.experiment.grid import chosen_tasks
from smc_eval.experiment.parsing import parse_spec
from smc_eval.registry import Registry, guarded
from smc_eval.score import Items, Score
from smc_eval.store.predictions import Predictions
from smc_eval.store.record import Record, ScoreRecord, scored_record
from smc_eval.store.records import RecordsFile
from smc_eval.task import Task

ELSEWHERE = ("synthetic", "hub")
"""Data that lies in no folder of the user's: words of `--data-dir`."""


@dataclass(frozen=True)
class Rescored:
    """One record of a book, and what its predictions score today."""

    record: Record
    score: Score | None = None
    """None where it cannot be made."""
    reason: str = ""
    """Why it cannot."""
    gained: bool = False
    """Whether its items differ from those that are kept beside it."""

    @property
    def rescored_record(self) -> Record:
        """The record with today's score; it says which release made that."""
        assert self.score is not None
        versions = {**self.record.versions, "score": f"smc-eval {smc_eval.__version__}"}
        return replace(scored_record(self.record, self.score), versions=versions)

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """What differs of the score, by name: as it is in the book, as it is today."""
        if self.score is None:
            return {}
        old, new = _flat(self.record.score), _flat(self.rescored_record.score)
        names = dict.fromkeys([*old, *new])
        return {
            name: (old.get(name), new.get(name))
            for name in names
            if json.dumps(old.get(name)) != json.dumps(new.get(name))  # NaN is NaN's like
        }


class Rescorer:
    """Scores records again, each task's reported split read once."""

    def __init__(self, registry: Registry, folder: str | None = None) -> None:
        self.registry = registry
        self.folder = folder
        """Where data lies now that lay in some folder; None: where each record says."""
        self._read: dict[str, tuple[Task, str, Sequence[Any]] | SmcError] = {}

    def over(self, book: RecordsFile, predictions: Predictions) -> Iterator[Rescored]:
        """Every record of a book that has a score, with what it scores today; writes nothing."""
        for record in book.latest().values():
            if record.status == "ok":
                try:
                    yield self._rescored(record, predictions)
                except SmcError as error:
                    yield Rescored(record, reason=first_line(error))

    def _rescored(self, record: Record, predictions: Predictions) -> Rescored:
        predicted = predictions.predicted(record.digest)
        if predicted is None:
            raise StoreError(
                f"its answers are missing or broken in {predictions.folder}; only a new run makes them"
            )
        task, read, examples = self._task(record)
        if read != record.data.digest:
            raise DataError(
                f"the data in {task.folder!r} is not what was predicted: its digest is {read[:12]}, "
                f"the record's {record.data.digest[:12]}; name the right folder by --data-dir"
            )
        if len(predicted) != len(examples):
            raise StoreError(f"{len(predicted)} answers are kept for {len(examples)} examples")
        score = guarded(task, lambda: task.score(predicted, examples))
        return Rescored(record, score, gained=_told(score.items) != _told(predictions.items(record.digest)))

    def _task(self, record: Record) -> tuple[Task, str, Sequence[Any]]:
        """The task of a record, the digest of the data it finds, and what it reports on."""
        source = record.data.source.partition(":")[0]
        folder = source if source in ELSEWHERE else self.folder or record.data.source
        place = [record.task, record.model, folder, record.fold, record.data.limited]
        key = json.dumps(place)
        if key not in self._read:
            try:
                task = self._rebuilt(record, folder)
                read = guarded(task, lambda: (_digest(task), task.data("test")))
                self._read[key] = task, *read
            except SmcError as error:
                self._read[key] = error
        found = self._read[key]
        if isinstance(found, SmcError):
            raise found
        return found

    def _rebuilt(self, record: Record, folder: str) -> Task:
        kinds = chosen_tasks([record.task], self.registry)
        if len(kinds) != 1:
            raise UsageError(f"{record.task!r} names {len(kinds)} tasks; the record is of one")
        ((kind, options),) = kinds
        around = {
            "backbone": record.model,
            "folder": folder,
            "fold": record.fold,
            "limit": record.data.limited,
        }
        return parse_spec(kind, {**options, **around}, "option", f"task {kind.card.name!r}")


def write_rescored(rescored: Rescored, book: RecordsFile, predictions: Predictions) -> None:
    """Put a score that has changed into the book, and items that have changed beside it.

    Raises:
        StoreError: they cannot be written.
    """
    digest = rescored.record.digest
    if rescored.score is not None and rescored.gained:
        predictions.save(digest, predictions.predicted(digest) or [], rescored.score.items)
    if rescored.changes:
        book.add(rescored.rescored_record)


def _digest(task: Task) -> str:
    """Digest of the data a task finds, whether or not its model can still be had."""
    try:
        sources = task.sources()
    except ModelError:
        if "tiny" not in task.card.accepts:
            raise
        sources = task.replace(backbone="tiny").sources()
    return next((source.digest for source in sources if source.role == "data"), "")


def _flat(score: ScoreRecord | None) -> dict[str, Any]:
    """A score's parts by name, further numbers among them."""
    found = dict[str, Any]()
    for name, value in asdict(score).items() if score else ():
        if isinstance(value, Mapping):
            found |= {f"{name} {inner}": part for inner, part in value.items()}
        else:
            found[name] = value
    return found


def _told(items: Items | None) -> str | None:
    return json.dumps(asdict(items)) if items else None
