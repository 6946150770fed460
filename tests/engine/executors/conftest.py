"""A task that ends its own process, cells with it, and the results of an undisturbed run.

No fixture here is used unless a test asks for it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from smc_eval.engine.progress import Silent
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.experiment.cell import Chain
from smc_eval.methods.dense import Dense
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.testing import chain_of, without_time

FRAGILE = '''
import os, time
from pathlib import Path
from typing import ClassVar
from smc_eval.card import TaskCard
from smc_eval.testing import Toy

class Fragile(Toy):
    """Counts its passes. In its seventh pass it sends itself the signal in a file, once."""
    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"name": "fragile"})
    file: str
    passes: ClassVar[int] = 0

    def loss(self, model, batch):
        Fragile.passes += 1
        with open(self.file + ".passes", "a") as passes:
            passes.write("x")
        if Fragile.passes == 7 and Path(self.file).exists():
            text = Path(self.file).read_text()
            Path(self.file).unlink()
            if text == "wait":
                Path(self.file + ".waits").write_text(str(os.getpid()))
                while True:  # in short steps, so that Python handles an interrupt
                    time.sleep(0.05)
            os.kill(os.getpid(), int(text))
        return super().loss(model, batch)
'''


@dataclass(frozen=True)
class Disturbable:
    """Cells that share stages, in a folder. Their dense training can be disturbed."""

    folder: Path
    module: ModuleType

    @property
    def file(self) -> Path:
        """The file for the signal, or `wait`, that disturbs the dense training."""
        return self.folder / "signal"

    @property
    def waits(self) -> Path:
        """The file that a waiting training writes, with the number of its process."""
        return self.folder / "signal.waits"

    @property
    def chains(self) -> list[Chain]:
        task, half = self.module.Fragile(file=str(self.file)), Target(sparsity=0.5)
        methods = (MagnitudeAfter(), MagnitudeBefore())
        return [chain_of(Dense(), Target(), task), *(chain_of(method, half, task) for method in methods)]

    def passes(self) -> int:
        """Number of forward passes of training since the last call."""
        file = self.file.with_name("signal.passes")
        count = len(file.read_text())
        file.unlink()
        return count

    def run(self, store: str, chains: Sequence[Chain] | None = None, **options: Any) -> list[Record]:
        """Run the cells in a store, with a checkpoint after every step."""
        options = {"device": "cpu", "threads": 1, "checkpoint_seconds": -1.0, **options}
        return run_cells(chains or self.chains, RunOptions(self.folder / store, **options))

    def nets(self, store: str) -> dict[str, bytes]:
        return {
            path.name: (path / "net.safetensors").read_bytes()
            for path in (self.folder / store / "nets").iterdir()
        }

    def assert_undisturbed(self, store: str, chains: Sequence[Chain] | None = None) -> None:
        """Records and nets equal those of an undisturbed process, and no other file is left."""
        wanted = self.run("alone", chains)
        latest = Store(self.folder / store).records.latest()
        assert [without_time(latest[record.digest]) for record in wanted] == [
            without_time(record) for record in wanted
        ]
        assert self.nets(store) == self.nets("alone")
        folder = self.folder / store
        assert [path for path in folder.glob("**/*") if path.name.startswith(".")] == []
        assert list((folder / "leases").iterdir()) == list((folder / "partial").iterdir()) == []
        assert not (folder / "slurm").exists()


class Recording(Silent):
    """Records notes and stages."""

    def __init__(self) -> None:
        self.notes, self.stages = list[str](), list[str]()

    def note(self, text: str, *, warning: bool = False) -> None:
        self.notes.append(text)

    def stage(self, label: str, steps: int, done: int) -> None:
        self.stages.append(label)


@pytest.fixture
def sigint() -> Iterator[None]:
    """SIGINT interrupts this process and those that it starts.

    A shell lets the programs that it starts in the background ignore SIGINT, and their children too.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def watcher() -> Recording:
    """A watcher that records notes and stages."""
    return Recording()


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disturbable]:
    """Cells whose module new processes can import."""
    name = f"fragile_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[3]}")
    yield Disturbable(tmp_path, __import__(name))
    del sys.modules[name]
