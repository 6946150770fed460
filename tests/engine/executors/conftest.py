"""A task that ends its own process, cells on it, and what they come to if nobody disturbs them."""

from __future__ import annotations

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
from smc_eval.engine import train
from smc_eval.testing import Toy

train.CHECKPOINT_SECONDS = -1.0

class Fragile(Toy):
    """In its seventh pass it sends itself the signal that a file names, once; and it counts its passes."""
    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"name": "fragile"})
    file: str
    passes: ClassVar[int] = 0

    def loss(self, model, batch):
        Fragile.passes += 1
        with open(self.file + ".passes", "a") as passes:
            passes.write("x")
        if Fragile.passes == 7 and Path(self.file).exists():
            told = Path(self.file).read_text()
            Path(self.file).unlink()
            if told == "wait":
                Path(self.file + ".waits").write_text(str(os.getpid()))
                while True:  # as work does, it lets Python notice an interrupt
                    time.sleep(0.05)
            os.kill(os.getpid(), int(told))
        return super().loss(model, batch)
'''


@dataclass(frozen=True)
class Bench:
    """Cells that share stages, one of which can be disturbed; and a folder."""

    folder: Path
    module: ModuleType

    @property
    def file(self) -> Path:
        """What is to happen in the dense training is written here."""
        return self.folder / "told"

    @property
    def chains(self) -> list[Chain]:
        task, half = self.module.Fragile(file=str(self.file)), Target(sparsity=0.5)
        methods = (MagnitudeAfter(), MagnitudeBefore())
        return [chain_of(Dense(), Target(), task), *(chain_of(method, half, task) for method in methods)]

    def passes(self) -> int:
        """How many forward passes of training there were since this was asked last."""
        file = self.file.with_name("told.passes")
        count = len(file.read_text())
        file.unlink()
        return count

    def run(self, store: str, chains: Sequence[Chain] | None = None, **how: Any) -> list[Record]:
        how = {"watcher": Silent(), "device": "cpu", "threads": 1, **how}
        return run_cells(chains or self.chains, RunOptions(self.folder / store, **how))

    def nets(self, store: str) -> dict[str, bytes]:
        return {
            path.name: (path / "net.safetensors").read_bytes()
            for path in (self.folder / store / "nets").iterdir()
        }

    def assert_undisturbed(self, store: str, chains: Sequence[Chain] | None = None) -> None:
        """Records and nets are those of one process that carried out cell after cell; no more is left."""
        wanted = self.run("alone", chains)
        latest = Store(self.folder / store).records.latest()
        assert [without_time(latest[result.digest]) for result in wanted] == [
            without_time(one) for one in wanted
        ]
        assert self.nets(store) == self.nets("alone")
        folder = self.folder / store
        assert [path for path in folder.glob("**/*") if path.name.startswith(".")] == []
        assert list((folder / "leases").iterdir()) == list((folder / "partial").iterdir()) == []
        assert not (folder / "slurm").exists()


class Listening(Silent):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notes, self.stages = list[str](), list[str]()

    def note(self, text: str, *, warning: bool = False) -> None:
        self.notes.append(text)

    def stage(self, label: str, steps: int, done: int) -> None:
        self.stages.append(label)


@pytest.fixture
def watcher() -> Listening:
    """Who listens to a run."""
    return Listening()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench whose module is found by processes that are started from now on."""
    name = f"fragile_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[3]}")
    yield Bench(tmp_path, __import__(name))
    del sys.modules[name]
