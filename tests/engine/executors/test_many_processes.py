"""Several processes on one store, killed at random: the records of an undisturbed one, bit for bit.

SMC_EVAL_KILLS is the number of kills; `tox -e kills` sets it to 50.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.testing import without_time

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("SMC_EVAL_KILLS", "3"))
PROCESSES = 4 if KILLS > 10 else 2  # each starts a worker, and both import torch

SLOW = """
import os, time
from pathlib import Path
from smc_eval.engine.cell_run import CellRun
from smc_eval.files import lease
from smc_eval.testing import Toy

if "EXPIRY" in os.environ:
    lease.RENEWAL, lease.EXPIRY = float(os.environ["EXPIRY"]) / 6, float(os.environ["EXPIRY"])
save = CellRun._save

def save_and_log(self, digest):
    save(self, digest)
    if "TRAINED" in os.environ:
        with open(os.environ["TRAINED"], "a") as file:
            file.write(digest + "\\n")

CellRun._save = save_and_log

class Slow(Toy):
    def loss(self, model, batch):
        time.sleep(float(os.environ["SLEEP"]))
        return super().loss(model, batch)
"""

SCRIPT = """
import sys
from pathlib import Path
from slow import Slow
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.target import Target
from smc_eval.testing import chain_of

if __name__ == "__main__":
    levels = [Target(sparsity=s) for s in (0.2, 0.5)]
    methods = MagnitudeAfter(), MagnitudeBefore(), LotteryTicket()
    chains = [chain_of(method, level, Slow()) for method in methods for level in levels]
    chains.append(chain_of(Dense(), Target(), Slow()))
    alone = sys.argv[2] == "alone"
    options = {"device": "cpu", "threads": 1, "jobs": 1, "checkpoint_seconds": 0.0}
    run_cells(chains, RunOptions(Path(sys.argv[1]), alone=alone, **options))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script, and the store of an undisturbed run."""
    made = tmp_path_factory.mktemp("work")
    (made / "slow.py").write_text(SLOW)
    (made / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(made / "script.py"), str(made / "alone"), "alone"]
    subprocess.run(command, check=True, env={**os.environ, "SLEEP": "0"})
    return made


def records(folder: Path) -> list[Record]:
    latest = Store(folder).records.latest()
    return [without_time(latest[digest]) for digest in sorted(latest)]


def nets(folder: Path) -> list[tuple[str, bytes]]:
    return sorted(
        (path.name, (path / "net.safetensors").read_bytes()) for path in (folder / "nets").iterdir()
    )


def spawned(pid: int) -> bool:
    """Whether a process is a worker, and not a resource tracker."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Processes:
    """Processes that work on one store, each with its own worker."""

    def __init__(self, folder: Path, store: Path, sleep: float, **environment: str) -> None:
        self.command = [sys.executable, str(folder / "script.py"), str(store), "together"]
        self.trained = store.with_suffix(".trained")
        self.environment = {**os.environ, "SLEEP": str(sleep), "TRAINED": str(self.trained), **environment}
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.processes.append(
            subprocess.Popen(
                self.command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )

    def wait_for_a_stage(self) -> None:
        while not self.trained.exists():
            assert any(process.poll() is None for process in self.processes)
            time.sleep(0.1)

    def workers(self) -> list[int]:
        """The worker processes that the living processes have started."""
        pids = []
        for process in self.processes:
            for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
                pids += [pid for pid in map(int, children.read_text().split()) if spawned(pid)]
        return pids

    def kill(self, generator: random.Random) -> bool:
        """Kill one of the living processes or of their workers; returns whether there was one."""
        living = [process for process in self.processes if process.poll() is None]
        if not living:
            return False
        victim = generator.choice([*(process.pid for process in living), *self.workers()])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return True
        for process in living:
            if process.pid == victim:
                process.wait()
                self.processes.remove(process)
                self.start()
        return True


def assert_undisturbed(folder: Path, store: Path) -> None:
    assert records(store) == records(folder / "alone")
    assert nets(store) == nets(folder / "alone")
    assert [path for path in store.glob("**/*") if path.name.startswith(".")] == []
    assert list((store / "leases").iterdir()) == list((store / "partial").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc to find workers in")
@pytest.mark.timeout(3600)
def test_kills_of_several_processes_at_random_times_change_nothing(folder: Path) -> None:
    store = folder / "killed"
    group, generator, kills = Processes(folder, store, 0.005 * KILLS), random.Random(11), 0
    for _ in range(PROCESSES):
        group.start()
    group.wait_for_a_stage()
    while kills < KILLS:
        time.sleep(generator.uniform(0.2, 2.0))
        if not group.kill(generator):
            group.start()  # all processes have ended: the next kill is of one that finds every cell done
            continue
        kills += 1
    for process in group.processes:
        process.wait(600)
    subprocess.run(group.command, check=True, env=group.environment)
    assert_undisturbed(folder, store)
    assert set(Counter(group.trained.read_text().split()).values()) == {1}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc to find workers in")
@pytest.mark.timeout(900)
def test_another_process_takes_over_from_a_stalled_one_which_then_corrupts_nothing(folder: Path) -> None:
    store = folder / "stalled"
    group = Processes(folder, store, 0.05, EXPIRY="3")
    group.start()
    group.wait_for_a_stage()
    (stalled,), (worker,) = group.processes, group.workers()
    for pid in (stalled.pid, worker):
        os.kill(pid, signal.SIGSTOP)
    try:
        subprocess.run(group.command, check=True, env=group.environment, timeout=600)
        assert len(records(store)) == len(records(folder / "alone"))
    finally:
        for pid in (worker, stalled.pid):
            os.kill(pid, signal.SIGCONT)
    assert stalled.wait(600) == 0
    subprocess.run(
        group.command, check=True, env=group.environment
    )  # it may have stalled while it saved a net
    assert_undisturbed(folder, store)
    assert (
        max(Counter(group.trained.read_text().split()).values()) <= 2
    )  # twice: the stage in which it stalled
