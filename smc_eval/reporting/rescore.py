"""Rescoring: scores computed again from stored predictions, without a net."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import smc_eval
from smc_eval.errors import DataError, ModelError, SmcError, StoreError, first_line
from smc_eval.experiment.data_facts import Repeats, count_repeats, full_score
from smc_eval.experiment.grid import task_named
from smc_eval.registry import Registry, guarded
from smc_eval.score import Score
from smc_eval.store.predictions import Predictions
from smc_eval.store.record import Record, scored_record
from smc_eval.store.records import RecordsFile
from smc_eval.task import BUILT_MODELS, Task

NO_FOLDER = ("synthetic", "hub")
"""Values of `--data-dir` that are not folders."""


@dataclass(frozen=True)
class Rescored:
    """A stored record, and the new score of its predictions."""

    record: Record
    score: Score | None = None
    """None if it cannot be computed."""
    reason: str = ""
    """Why it cannot be computed."""
    items_changed: bool = False
    """Whether its items differ from the stored ones."""
    repeats: Repeats | None = None
    """Test examples that are not new."""

    @property
    def rescored_record(self) -> Record:
        """The record with the new score, and the release that computed it."""
        assert self.score is not None
        versions = {**self.record.versions, "score": f"smc-eval {smc_eval.__version__}"}
        data = replace(self.record.data, repeats=self.repeats)
        return replace(scored_record(self.record, self.score), versions=versions, data=data)

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """The stored and the new value of each part of the score that differs, by name."""
        if self.score is None:
            return {}
        old, new = _fields(self.record), _fields(self.rescored_record)
        names = dict.fromkeys([*old, *new])
        return {
            name: (old.get(name), new.get(name))
            for name in names
            if json.dumps(old.get(name)) != json.dumps(new.get(name))  # equal for two NaNs
        }


class Rescorer:
    """Computes scores again; reads the reported split of each task once."""

    def __init__(self, registry: Registry, folder: str | None = None) -> None:
        self.registry = registry
        self.folder = folder
        """The new folder of data that was read from a folder; None: each record's own folder."""
        self._loaded: dict[str, tuple[Task, str, Sequence[Any]] | SmcError] = {}

    def rescore(self, records_file: RecordsFile, predictions: Predictions) -> Iterator[Rescored]:
        """Every stored record that has a score, with its new score; writes nothing."""
        for record in records_file.latest().values():
            if record.status == "ok":
                try:
                    yield self._rescored(record, predictions)
                except SmcError as error:
                    yield Rescored(record, reason=first_line(error))

    def _rescored(self, record: Record, predictions: Predictions) -> Rescored:
        predicted = predictions.predicted(record.digest)
        if predicted is None:
            raise StoreError(
                f"its predictions are missing or broken in {predictions.folder}; run the cell again"
            )
        task, digest, examples = self._task(record)
        if digest != record.data.digest:
            raise DataError(
                f"the data in {task.folder!r} differs from the data of the predictions: its digest is "
                f"{digest[:12]}, the record has {record.data.digest[:12]}; set --data-dir to the right folder"
            )
        if len(predicted) != len(examples):
            raise StoreError(f"{len(predicted)} predictions are stored for {len(examples)} examples")
        score = guarded(task, lambda: full_score(task, predicted, examples, digest))
        if record.score:  # needs the tokenizer of the model, which may be gone
            score = replace(score, ceiling=record.score.ceiling)
        repeats = guarded(task, lambda: count_repeats(task, digest))
        changed = score.items != predictions.items(record.digest)
        return Rescored(record, score, items_changed=changed, repeats=repeats)

    def _task(self, record: Record) -> tuple[Task, str, Sequence[Any]]:
        """The task of a record, the digest of its data, and its test examples."""
        source = record.data.source.partition(":")[0]
        folder = source if source in NO_FOLDER else self.folder or record.data.source
        place = [record.task, record.model, folder, record.fold, record.data.limited]
        key = json.dumps(place)
        if key not in self._loaded:
            try:
                task = self._build_task(record, folder)
                loaded = guarded(task, lambda: (_digest(task), task.data("test")))
                self._loaded[key] = task, *loaded
            except SmcError as error:
                self._loaded[key] = error
        result = self._loaded[key]
        if isinstance(result, SmcError):
            raise result
        return result

    def _build_task(self, record: Record, folder: str) -> Task:
        settings = {"folder": folder, "fold": record.fold, "limit": record.data.limited}
        return task_named(record.task, self.registry, backbone=record.model, **settings)


def write_rescored(rescored: Rescored, records_file: RecordsFile, predictions: Predictions) -> None:
    """Store the record if its score has changed, and the items if they have changed.

    Raises:
        StoreError: they cannot be written.
    """
    digest = rescored.record.digest
    if rescored.score is not None and rescored.items_changed:
        predictions.save(digest, predictions.predicted(digest) or [], rescored.score.items)
    if rescored.changes:
        records_file.add(rescored.rescored_record)


def _digest(task: Task) -> str:
    """The digest of a task's data, even if its model is no longer available."""
    try:
        sources = task.sources()
    except ModelError:
        built = next((word for word in BUILT_MODELS if word in task.card.accepts), None)
        if built is None:
            raise
        sources = task.replace(backbone=built).sources()
    return next((source.digest for source in sources if source.role == "data"), "")


def _fields(record: Record) -> dict[str, Any]:
    """The parts of a record's score by name, with its further numbers, and the repeats in its data."""
    fields = dict[str, Any]()
    for name, value in asdict(record.score).items() if record.score else ():
        if isinstance(value, Mapping):
            fields |= {f"{name} {inner}": part for inner, part in value.items()}
        else:
            fields[name] = value
    counts = asdict(record.data.repeats) if record.data.repeats else {}
    return fields | {f"repeats {name}": count for name, count in counts.items()}
