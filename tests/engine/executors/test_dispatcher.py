"""Several cells at once: the records equal those of a run in order, and a dead worker fails one cell."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from smc_eval.engine.executors import dispatcher
from smc_eval.engine.executors.dispatcher import Dispatcher
from smc_eval.engine.executors.jobs import Job, WorkerDied, exit_reason
from smc_eval.engine.executors.local import memory_kills
from smc_eval.engine.progress import Silent
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.errors import StoreGone, UsageError
from smc_eval.files import lease
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.sparse.bits import mask_digest
from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, without_time

TROUBLE = '''
import ctypes, os, signal, sys
from pathlib import Path
from typing import ClassVar
import torch
from smc_eval.card import TaskCard
from smc_eval.testing import Toy

class Trouble(Toy):
    """A task that goes wrong in its third forward pass."""
    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"name": "trouble"})
    how: str
    passes: ClassVar[int] = 0

    def loss(self, model, batch):
        Trouble.passes += 1
        if Trouble.passes % 100 == 3:
            print("something is wrong", flush=True)
            match self.how.partition(" ")[0]:
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "once" if not Path(self.how[5:]).exists():
                    Path(self.how[5:]).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit":
                    os._exit(0)
                case "segv":
                    os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "memory" and len(batch["answers"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().loss(model, batch)
'''


class Recording(Silent):
    """Records notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str, *, warning: bool = False) -> None:
        self.notes.append(text)


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module with a task, which workers can import too."""
    name = f"trouble_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(TROUBLE)
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__(name)
    del sys.modules[name]


@pytest.mark.slow
@pytest.mark.timeout(600)  # each worker imports torch
def test_two_jobs_give_the_records_of_one(tmp_path: Path) -> None:
    half, fifth = Target(sparsity=0.5), Target(sparsity=0.2)
    methods = (MagnitudeAfter(), LotteryTicket(), MagnitudeBefore())
    chains = [
        chain_of(Dense(), Target()),
        *(chain_of(method, target) for method in methods for target in (half, fifth)),
    ]
    alone = run_cells(chains, RunOptions(tmp_path / "alone", device="cpu", threads=1))
    both = run_cells(chains, RunOptions(tmp_path / "both", device="cpu", threads=1, jobs=2))
    assert [without_time(record) for record in both] == [without_time(record) for record in alone]
    files = [{path.name for path in (tmp_path / name / "nets").iterdir()} for name in ("alone", "both")]
    assert files[0] == files[1]
    assert not list((tmp_path / "both").glob("**/.*"))
    assert not list((tmp_path / "both" / "leases").iterdir())
    assert not list((tmp_path / "both" / "logs").iterdir())  # no output, no logs


@pytest.mark.slow
@pytest.mark.timeout(600)  # each worker imports torch
def test_a_dead_worker_fails_only_its_cell_with_the_cause(tmp_path: Path, trouble: ModuleType) -> None:
    tasks = [trouble.Trouble(how=how) for how in ("kill", "segv", f"once {tmp_path / 'mark'}")]
    chains = [*(chain_of(Dense(), Target(), task) for task in tasks), chain_of(Dense(), Target())]
    watcher = Recording()
    killed, segv, once, fine = run_cells(
        chains, RunOptions(tmp_path / "s", device="cpu", threads=1, watcher=watcher, jobs=2)
    )
    assert (killed.status, segv.status) == ("failed", "failed")
    assert killed.reason.startswith("its worker was ended by signal SIGKILL\nits output is in ")
    assert segv.reason.startswith("its worker was ended by signal SIGSEGV\n")
    log = Path(segv.reason.rpartition(" ")[2]).read_text(encoding="utf-8")
    assert "something is wrong" in log and "Fatal Python error: Segmentation fault" in log
    assert once.sound and once.cost.steps == 12 and once.cost.parts == 1
    assert fine.sound
    assert sorted(watcher.notes) == ["its worker was ended by signal SIGKILL; trying again"] * 2
    assert Store(tmp_path / "s").records.latest()[killed.digest].status == "failed"


@pytest.mark.slow
@pytest.mark.timeout(600)  # each worker imports torch
def test_an_isolated_cell_that_ends_its_process_costs_itself_alone(
    tmp_path: Path, trouble: ModuleType
) -> None:
    tasks = [trouble.Trouble(how=how) for how in ("segv", "exit")]
    chains = [*(chain_of(Dense(), Target(), task) for task in tasks), chain_of(Dense(), Target())]
    options = RunOptions(tmp_path / "s", device="cpu", threads=1, isolated=True)
    segv, ended, fine = run_cells(chains, options)
    assert segv.reason.startswith("its worker was ended by signal SIGSEGV\nits output is in ")
    assert ended.reason.startswith("its worker ended with exit code 0\nits output is in ")
    (wanted,) = run_cells(chains[2:], RunOptions(tmp_path / "here", device="cpu", threads=1))
    assert without_time(fine) == without_time(wanted)
    assert not list((tmp_path / "s" / "leases").iterdir())


def test_a_cell_out_of_memory_runs_again_with_half_passes_and_the_same_steps(
    tmp_path: Path, trouble: ModuleType
) -> None:
    chains = [chain_of(Dense(), Target(), trouble.Trouble(how=how)) for how in ("memory", "nothing")]
    watcher = Recording()
    short, fine = run_cells(chains, RunOptions(tmp_path / "s", device="cpu", threads=1, watcher=watcher))
    assert watcher.notes == ["out of memory; trying again with forward passes of half the size"]
    assert short.sound and short.digest == chains[0].digest
    assert short.cost.parts == 2 and fine.cost.parts == 1
    assert (short.cost.steps, short.cost.examples) == (fine.cost.steps, fine.cost.examples)


def test_a_cell_that_runs_out_of_memory_twice_fails_with_advice(tmp_path: Path, trouble: ModuleType) -> None:
    recipe = Toy().recipe.model_copy(update={"batch_size": 20})
    (result,) = run_cells(
        [chain_of(Dense(), Target(), trouble.Trouble(how="memory", recipe=recipe))],
        RunOptions(tmp_path / "s", device="cpu"),
    )
    assert result.reason == (
        "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB; "
        "try a smaller --recipe batch_size with accumulation"
    )


class Scripted:
    """An executor with given outcomes: a worker's death, or None for a cell that another process has."""

    slots = 1

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes, self.jobs = list(outcomes), list[Job]()

    def submit(self, job: Job, report: Any) -> Future[Any]:
        self.jobs.append(job)
        future = Future[Any]()
        match self.outcomes.pop(0):
            case None:
                future.set_result(None)
            case error:
                future.set_exception(error)
        return future

    def shutdown(self) -> None: ...


def dispatched(folder: Path, executor: Scripted) -> list[Record]:
    store = Store(folder)
    store.open()
    return Dispatcher([chain_of(Dense(), Target())], store, executor, RunOptions(folder)).run()


def test_only_a_kill_for_memory_halves_the_passes(tmp_path: Path) -> None:
    for memory, parts in ((True, [1, 2]), (False, [1, 1])):
        executor = Scripted(*[WorkerDied.by_exit_code(-9, memory=memory)] * 2)
        (result,) = dispatched(tmp_path / str(memory), executor)
        assert [job.parts for job in executor.jobs] == parts
        assert result.status == "failed"
        assert result.reason.startswith("its worker was ended by signal SIGKILL")
        assert ("as memory ran short" in result.reason) == memory


def test_a_crash_is_not_tried_again(tmp_path: Path) -> None:
    executor = Scripted(WorkerDied.by_exit_code(-11))
    dispatched(tmp_path, executor)
    assert len(executor.jobs) == 1


def test_a_cell_of_another_process_ends_with_the_record_of_that_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", 0.01)
    chain = chain_of(Dense(), Target())

    class Elsewhere(Scripted):
        def submit(self, job: Job, report: Any) -> Future[Any]:
            run_cells([chain], RunOptions(tmp_path, device="cpu"))  # as another machine does
            return super().submit(job, report)

    executor = Elsewhere(None)
    (result,) = dispatched(tmp_path, executor)
    assert result.sound and len(executor.jobs) == 1


def test_a_store_that_vanishes_ends_the_run_and_is_not_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXPIRY", 0.2)  # this process continues, and its leases with it

    class Renaming(Silent):
        def step(self, done: int, loss: float) -> None:
            if done == 5:
                (tmp_path / "s").rename(tmp_path / "away")

    with pytest.raises(StoreGone, match="has vanished; bring the folder back"):
        run_cells([chain_of(Dense(), Target())], RunOptions(tmp_path / "s", device="cpu", watcher=Renaming()))
    assert not (tmp_path / "s").exists()
    (tmp_path / "away").rename(tmp_path / "s")
    (result,) = run_cells([chain_of(Dense(), Target())], RunOptions(tmp_path / "s", device="cpu"))
    assert result.sound


@pytest.mark.timeout(600)  # each worker imports torch
def test_a_device_that_is_missing_in_workers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cuda device"):
        run_cells([chain_of(Dense(), Target())], RunOptions(tmp_path, device="cuda:0", jobs=2))


@pytest.mark.parametrize(("keep", "left"), [("nets", 1), ("final", 3), ("masks", 0), ("results", 0)])
def test_keep_decides_what_stays_in_the_store(tmp_path: Path, keep: Any, left: int) -> None:
    half = chain_of(MagnitudeAfter(), Target(sparsity=0.5))
    chains = [chain_of(Dense(), Target()), chain_of(MagnitudeAfter(), Target(sparsity=0.2)), half]
    *_, result = run_cells(chains, RunOptions(tmp_path, device="cpu", keep=keep))
    assert len(list((tmp_path / "nets").iterdir())) == left
    store = Store(tmp_path)
    masks = store.masks.load(half.digest)
    assert (masks is not None) == (keep == "masks")
    if masks:
        assert mask_digest(masks) == result.certificate.mask_digest
        path = tmp_path / "masks" / f"{half.digest}.safetensors"
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert store.masks.load(half.digest) is None


def test_exit_codes_have_phrases() -> None:
    assert exit_reason(-signal.SIGABRT) == "was ended by signal SIGABRT"
    assert exit_reason(1) == "ended with exit code 1"


def test_the_count_of_memory_kills_comes_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 12\noom_kill 3\noom_kill_x 9\n")
    assert memory_kills(tmp_path / "vmstat") == 3
    assert memory_kills(tmp_path / "none") is None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc to find workers in")
def test_ctrl_c_ends_all_workers(training: Any) -> None:
    words = "--model tiny --tasks mawps/gts --folds 0,1 --method dense --recipe steps=100000 --jobs 2"
    process = training(words, "steps/s")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("interrupted; finished work is kept")
    assert "Traceback" not in err
    for _ in range(50):
        if not members(process.pid):
            break
        time.sleep(0.1)
    assert members(process.pid) == []


def members(session: int) -> list[int]:
    """The living processes of a session."""
    living = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            living.append(int(stat.parent.name))
    return living
