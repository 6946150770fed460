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

from smc_eval.engine.store import Store
from smc_eval.testing import timeless

KILLS = int(os.environ.get("SMC_EVAL_KILLS", "3"))
PROCESSES = 4 if KILLS > 10 else 2  # each starts a worker, and both import torch

SLOW = """
import os, time
from pathlib import Path
from smc_eval.engine import train, walk
from smc_eval.testing import Toy

train.CHECKPOINT_SECONDS = 0.0
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


def records(folder: Path) -> list[dict[str, object]]:
    latest = Store(folder).book.latest()
    return [timeless(latest[digest]) for digest in sorted(latest)]


def nets(folder: Path) -> list[tuple[str, bytes]]:
    return sorted(
        (path.name, (path / "net.safetensors").read_bytes()) for path in (folder / "nets").iterdir()
    )


class Hands:
    """Processes that work on one store, each with a worker of its own."""

    def __init__(self, folder: Path, store: Path, sleep: float) -> None:
        self.command = [sys.executable, str(folder / "script.py"), str(store), "together"]
        self.environment = {**os.environ, "SLEEP": str(sleep), "TRAINED": str(folder / "trained")}
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.processes.append(
            subprocess.Popen(
                self.command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )

    def workers(self) -> list[int]:
        """The processes that the living have started."""
        found = []
        for process in self.processes:
            told = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            if process.poll() is None and told.exists():
                found += [int(pid) for pid in told.read_text().split()]
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


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc to find workers in")
@pytest.mark.timeout(3600)
def test_kill_nine_at_random_among_several_processes_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "script.py").write_text(SCRIPT)
    alone, together = tmp_path / "alone", tmp_path / "together"
    sleep = 0.005 * KILLS
    script = [sys.executable, str(tmp_path / "script.py")]
    subprocess.run([*script, str(alone), "alone"], check=True, env={**os.environ, "SLEEP": "0"})
    hands, chance, kills = Hands(tmp_path, together, sleep), random.Random(11), 0
    for _ in range(PROCESSES):
        hands.start()
    while not (tmp_path / "trained").exists():
        assert any(process.poll() is None for process in hands.processes)
        time.sleep(0.1)
    while kills < KILLS:
        time.sleep(chance.uniform(0.2, 2.0))
        if not hands.kill(chance):
            hands.start()  # all is done, or failed: kill who finds that out
            continue
        kills += 1
    for process in hands.processes:
        process.wait(600)
    subprocess.run([*script, str(together), "together"], check=True, env={**hands.environment})
    trained = Counter((tmp_path / "trained").read_text().split())
    assert records(together) == records(alone)
    assert nets(together) == nets(alone)
    assert set(trained.values()) == {1}
    assert [path for path in together.glob("**/*") if path.name.startswith(".")] == []
    assert list((together / "leases").iterdir()) == list((together / "partial").iterdir()) == []
