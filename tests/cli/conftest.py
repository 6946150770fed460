"""An environment with one plugin of toy tasks, the program in it, and stores with made-up records."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smc_eval import registry, spec
from smc_eval.cli import app, run
from smc_eval.score import Items
from smc_eval.store.predictions import Predictions
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile
from smc_eval.testing import record_with
from smc_eval.testing.records import merged

TOYS = '''
import hashlib
from pathlib import Path
from typing import ClassVar

from smc_eval import DataError, Recipe, Source, TaskCard, accuracy, hookimpl
from smc_eval.methods import smc_eval_methods, smc_eval_optimizers
from smc_eval.testing import PrunedToy, Toy

class Sums(Toy):
    """Which token came twice, in two folds."""
    card: ClassVar[TaskCard] = TaskCard(
        name="sums/gts", summary="toy sums", source="none", metric="accuracy (%)",
        groups=("sums", "maths"), folds=2, accepts=("scratch", "tiny"), published="scratch",
        licence="none needed",
    )
    tiny = {"steps": 2}
    recipe: Recipe = Recipe(steps=3, batch_size=8, lr=0.01)

class Terms(Toy):
    card: ClassVar[TaskCard] = TaskCard(
        name="terms/gts", summary="toy terms", source="none", metric="accuracy (%)",
        groups=("terms", "maths"),
        accepts=("tiny",), published="tiny",
    )
    recipe: Recipe = Recipe(steps=2, batch_size=8, lr=0.01)

class Pruned(PrunedToy):
    card: ClassVar[TaskCard] = TaskCard(
        name="pruned", summary="toy on a pruned net", source="none", metric="accuracy (%)",
        accepts=("tiny",), published="tiny",
    )
    recipe: Recipe = Recipe(steps=2, batch_size=8, lr=0.01)

class Broken(Toy):
    card: ClassVar[TaskCard] = TaskCard(
        name="broken", summary="toy", source="none", metric="accuracy (%)",
        accepts=("tiny",), published="tiny",
    )

    def data(self, part):
        raise DataError("train.csv, line 3: no number")

class Lines(Toy):
    """Which letter is in each line of a file."""
    card: ClassVar[TaskCard] = TaskCard(
        name="lines/a", summary="toy lines", source="none", metric="accuracy (%)", chance=20.0, folds=2,
        accepts=("tiny",), published="tiny",
    )
    case: tuple[str, ...] = ()
    """Letters that count as wrong."""

    def sources(self):
        return (Source("data", self.folder, hashlib.sha256(self._file.read_bytes()).hexdigest()),)

    def data(self, part):
        return self._file.read_text().split()[: self.limit]

    @property
    def _file(self):
        path = Path(self.folder) / "lines.txt"
        if not path.is_file():
            raise DataError(f"there is no {path}")
        return path

    def score(self, predicted, examples):
        right = [a == b and b not in self.case for a, b in zip(predicted, examples, strict=True)]
        return accuracy(right, "accuracy (%)", "letters")

@hookimpl
def smc_eval_tasks():
    return [Sums, Terms, Broken, Pruned, Lines]
'''

Install = Callable[[str, str], None]
Invoke = Callable[..., Any]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a plugin, by its name and source, in an environment that has nothing else."""
    folder = tmp_path / f"site-{tmp_path.name}"
    folder.mkdir()
    suffix = folder.name.replace("-", "_")

    def write(name: str, source: str) -> None:
        module = f"{name.replace('-', '_')}_{suffix}"
        (folder / f"{module}.py").write_text(source)
        info = folder / f"{name.replace('-', '_')}-3.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.1\n")
        (info / "entry_points.txt").write_text(f"[smc_eval]\n{name} = {module}\n")

    def installed() -> list[EntryPoint]:
        return [point for found in distributions(path=[str(folder)]) for point in found.entry_points]

    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry, "installed", installed)
    monkeypatch.setattr(spec, "_CLAIMED", dict(spec._CLAIMED))  # each test makes the plugin's classes anew
    yield write
    for module in [name for name in sys.modules if name.endswith(suffix)]:
        del sys.modules[module]


@pytest.fixture
def invoke(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs the program with these arguments, in an empty folder, with the toys as the only plugin."""
    install("toys", TOYS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(run, "ISOLATED", False)  # a worker process takes seconds to start
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="session")
def refused() -> Callable[[Any], str]:
    """The error message of a wrong command line: one to three lines on the error stream, exit code 2."""

    def message(result: Any) -> str:
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert 1 <= len(result.stderr.strip().splitlines()) <= 3, result.stderr
        assert result.stderr.startswith("error: ")
        return str(result.stderr)

    return message


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """Makes a sound record, parts of which may be changed. A value of None makes it a failed one."""

    def make(
        method: str = "omp-after", sparsity: float = 0.5, value: float | None = 80.0, **changes: Any
    ) -> Record:
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
        made = record_with(**merged(plain, changes))
        name = [made.task, made.model, made.method, made.seed, made.fold, *vars(made.target).values()]
        digest = hashlib.sha256("-".join(map(str, [*name, made.protocol])).encode()).hexdigest()
        return replace(made, digest=changes.get("digest", digest))

    return make


class Stores:
    """Stores in the working folder, by name."""

    def add(
        self, store: str, record: Record, predicted: Sequence[Any] = (), items: Items | None = None
    ) -> Record:
        """Add a record to a store, with its predictions if there are any."""
        RecordsFile(Path(store)).add(record)
        if predicted or items:
            Predictions(Path(store)).save(record.digest, predicted, items)
        return record

    def latest(self, store: str) -> list[Record]:
        """The records of a store."""
        return list(RecordsFile(Path(store)).latest().values())


@pytest.fixture
def stores(invoke: Invoke) -> Stores:
    """Stores with made-up records, where the program finds them."""
    return Stores()
