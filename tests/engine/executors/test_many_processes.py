"""Several processes on one store, killed at random: the records of one that nobody disturbed, bit for bit.

SMC_EVAL_KILLS says how often; `tox -e kills` says 50.
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

from smc_eval.store.store import Store
from smc_eval.testing import without_time

KILLS = int(os.environ.get("SMC_EVAL_KILLS", "3"))
PROCESSES = 4 if KILLS > 10 else 2  # each starts a worker, and both import torch

SLOW = """
import os, time
from pathlib import Path
from smc_eval import lease
from smc_eval.engine import train, walk
from smc_eval.testing import Toy

train.CHECKPOINT_SECONDS = 0.0
if "EXPIRY" in os.environ:
    lease.BEAT, lease.EXPIRY = float(os.environ["EXPIRY"]) / 6, float(os.environ["EXPIRY"])
save = walk.Walk._save

def told(self, digest):
    save(self, digest)
    if "TRAINED" in os.environ:
        with open(os.environ["TRAINED"], "a") as file:
            file.write(digest + "\\n")

walk.Walk._save = told

class Slow(Toy):
    def loss(self, model, batch):
        time.sleep(float(os.environ["SLEEP"]))
        return super().loss(model, batch)
"""

SCRIPT = """
import sys
from pathlib import Path
from slow import Slow
from smc_eval.engine.runner import run
from smc_eval.engine.watch import Silent
from smc_eval.methods.dense import Dense
from smc_eval.methods.lottery import Lottery
from smc_eval.methods.magnitude import MagnitudeAfter, MagnitudeBefore
from smc_eval.target import Target
from smc_eval.testing import bound

if __name__ == "__main__":
    levels = [Target(sparsity=s) for s in (0.2, 0.5)]
    methods = MagnitudeAfter(), MagnitudeBefore(), Lottery()
    chains = [bound(method, level, Slow()) for method in methods for level in levels]
    chains.append(bound(Dense(), Target(), Slow()))
    alone = sys.argv[2] == "alone"
    run(chains, Path(sys.argv[1]), device="cpu", threads=1, watcher=Silent(), jobs=1, alone=alone)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script, and the store of a run that nobody disturbed."""
    made = tmp_path_factory.mktemp("work")
    (made / "slow.py").write_text(SLOW)
    (made / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(made / "script.py"), str(made / "alone"), "alone"]
    subprocess.run(command, check=True, env={**os.environ, "SLEEP": "0"})
    return made


def records(folder: Path) -> list[dict[str, object]]:
    latest = Store(folder).records.latest()
    return [without_time(latest[digest]) for digest in sorted(latest)]


def nets(folder: Path) -> list[tuple[str, bytes]]:
    return sorted(
        (path.name, (path / "net.safetensors").read_bytes()) for path in (folder / "nets").iterdir()
    )


def spawned(pid: int) -> bool:
    """Whether a process is a worker: none that only tracks resources."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Hands:
    """Processes that work on one store, each with a worker of its own."""

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
        """The worker processes that the living have started."""
        found = []
        for process in self.processes:
            for told in Path(f"/proc/{process.pid}/task").glob("*/children"):
                found += [pid for pid in map(int, told.read_text().split()) if spawned(pid)]
        return found

    def kill(self, chance: random.Random) -> bool:
        """Kill one of the living, or one of their workers; whether there was any left."""
        living = [process for process in self.processes if process.poll() is None]
        if not living:
            return False
        victim = chance.choice([*(process.pid for process in living), *self.workers()])
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
def test_kill_nine_at_random_among_several_processes_changes_nothing(folder: Path) -> None:
    store = folder / "killed"
    hands, chance, kills = Hands(folder, store, 0.005 * KILLS), random.Random(11), 0
    for _ in range(PROCESSES):
        hands.start()
    hands.wait_for_a_stage()
    while kills < KILLS:
        time.sleep(chance.uniform(0.2, 2.0))
        if not hands.kill(chance):
            hands.start()  # all is done, or failed: kill who finds that out
            continue
        kills += 1
    for process in hands.processes:
        process.wait(600)
    subprocess.run(hands.command, check=True, env=hands.environment)
    assert_undisturbed(folder, store)
    assert set(Counter(hands.trained.read_text().split()).values()) == {1}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc to find workers in")
@pytest.mark.timeout(900)
def test_a_stalled_process_is_overtaken_and_corrupts_nothing_when_it_wakes_up(folder: Path) -> None:
    store = folder / "stalled"
    hands = Hands(folder, store, 0.05, EXPIRY="3")
    hands.start()
    hands.wait_for_a_stage()
    (stalled,), (worker,) = hands.processes, hands.workers()
    for pid in (stalled.pid, worker):
        os.kill(pid, signal.SIGSTOP)
    try:
        subprocess.run(hands.command, check=True, env=hands.environment, timeout=600)
        assert len(records(store)) == len(records(folder / "alone"))
    finally:
        for pid in (worker, stalled.pid):
            os.kill(pid, signal.SIGCONT)
    assert stalled.wait(600) == 0
    subprocess.run(hands.command, check=True, env=hands.environment)  # it may have been saving a net
    assert_undisturbed(folder, store)
    assert max(Counter(hands.trained.read_text().split()).values()) <= 2  # the stage in which it stalled
