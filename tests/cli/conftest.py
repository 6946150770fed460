"""Stores written by hand, of toy tasks, and the command line over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from smc_eval import DataError, TaskCard, hookimpl, registry
from smc_eval.cli import app
from smc_eval.methods import smc_eval_methods as ours
from smc_eval.score import Items, accuracy
from smc_eval.store.predictions import Predictions
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile
from smc_eval.task import Part, Source
from smc_eval.testing import Toy, record_with
from smc_eval.testing.records import merged

Say = Callable[..., Any]


class Lines(Toy):
    """Which letter stands in each line of a file."""

    card: ClassVar[TaskCard] = TaskCard(
        name="lines/a",
        summary="toy lines",
        source="none",
        metric="accuracy (%)",
        chance=20.0,
        folds=2,
        accepts=("tiny",),
        published="tiny",
    )
    case: tuple[str, ...] = ()
    """Letters that are not counted."""

    def sources(self) -> tuple[Source, ...]:
        return (Source("data", self.folder, hashlib.sha256(self._file.read_bytes()).hexdigest()),)

    def data(self, part: Part) -> Sequence[Any]:
        return self._file.read_text().split()[: self.limit]

    @property
    def _file(self) -> Path:
        path = Path(self.folder) / "lines.txt"
        if not path.is_file():
            raise DataError(f"there is no {path}")
        return path

    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Any:
        right = [a == b and b not in self.case for a, b in zip(predicted, examples, strict=True)]
        return accuracy(right, "accuracy (%)", "letters")


@hookimpl
def smc_eval_tasks() -> list[type[Toy]]:
    return [Lines, Toy]


@hookimpl
def smc_eval_methods() -> list[Any]:
    return list(ours())


def made(
    method: str = "omp-after", sparsity: float = 0.5, value: float | None = 80.0, **changes: Any
) -> Record:
    """A sound record, parts of which may be changed; a value of None makes it a failed one."""
    sparsity = 0.0 if method == "dense" else sparsity
    plain: dict[str, Any] = {
        "task": "t/a",
        "group": "t",
        "method": method,
        "target": {"sparsity": sparsity},
        "sparsity": {"scope": sparsity, "weights": sparsity, "all": sparsity},
        "score": {"value": value, "n": 4, "signature": "letters"} if value is not None else None,
        "status": "ok" if value is not None else "failed",
        "certificate": {"ok": changes.pop("ok", True)},
    }
    record = record_with(**merged(plain, changes))
    name = [record.task, record.model, record.method, record.seed, record.fold, *vars(record.target).values()]
    digest = hashlib.sha256("-".join(map(str, [*name, record.protocol])).encode()).hexdigest()
    return replace(record, digest=changes.get("digest", digest))


class Shop:
    """A folder to work in, in which stores are made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(
        self, store: str, record: Record, predicted: Sequence[Any] = (), items: Items | None = None
    ) -> Record:
        """Put a record into a store, its answers beside it where there are any."""
        RecordsFile(self.folder / store).add(record)
        if predicted or items:
            Predictions(self.folder / store).save(record.digest, predicted, items)
        return record

    def right(self, store: str, record: Record, right: Sequence[bool]) -> Record:
        """A record of right and wrong answers, whose score is what they make."""
        score = accuracy(right, "accuracy (%)", "letters")
        assert record.score is not None
        again = replace(record, score=replace(record.score, value=score.value, n=score.n))
        return self.keep(store, again, [int(one) for one in right], score.items)

    def latest(self, store: str) -> list[Record]:
        return list(RecordsFile(self.folder / store).latest().values())


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Toy tasks and our methods are all that is installed."""
    point = EntryPoint("toys", "tests.cli", "smc_eval")
    monkeypatch.setattr(EntryPoint, "load", lambda _: PLUGIN)
    monkeypatch.setattr(registry, "installed", lambda: [point])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Shop(tmp_path)


class Plugin:
    """What the entry point leads to."""

    smc_eval_tasks = staticmethod(smc_eval_tasks)
    smc_eval_methods = staticmethod(smc_eval_methods)


PLUGIN = Plugin()


@pytest.fixture
def say(shop: Shop) -> Say:
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    return made


@pytest.fixture
def lines() -> type[Lines]:
    return Lines
