"""A run that is killed at any time and started again equals an undisturbed run, bit for bit."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.testing import without_time

SCRIPT = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from smc_eval.engine.progress import Silent
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.target import Target
from smc_eval.testing import chain_of

class Slow(Silent):
    def step(self, done, loss):
        print("a step", flush=True)
        time.sleep(0.01)

half = Target(sparsity=0.5)
methods = (Dense(), Target()), (MagnitudeAfter(), half), (LotteryTicket(), half)
chains = [chain_of(method, target) for method, target in methods]
run_cells(chains, RunOptions(Path(sys.argv[1]), device="cpu", checkpoint_seconds=0.0, watcher=Slow()))
"""


def records(folder: Path) -> list[Record]:
    """The records of a store, without seconds and memory."""
    latest = Store(folder).records.latest()
    return [without_time(latest[digest]) for digest in sorted(latest)]


def nets(folder: Path) -> list[tuple[str, bytes]]:
    """Every stored net by digest, and its bytes."""
    return sorted(
        (path.name, (path / "net.safetensors").read_bytes()) for path in (folder / "nets").iterdir()
    )


@pytest.mark.slow
@pytest.mark.timeout(900)  # dozens of processes, each of which imports torch
def test_kills_at_random_times_change_nothing(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(whole)], check=True, timeout=600, stdout=subprocess.DEVNULL
    )
    generator, kills = random.Random(7), 0
    for _ in range(40):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(killed)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(generator.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        if process.wait(60) == 0:
            break
        kills += 1
    else:
        raise AssertionError("no killed run ended: nothing is resumed")
    assert kills >= 2
    assert records(killed) == records(whole)
    assert nets(killed) == nets(whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_on_one_store_run_each_cell_once(tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    run = [sys.executable, "-c", SCRIPT]
    subprocess.run([*run, str(alone)], check=True, timeout=600, stdout=subprocess.DEVNULL)
    pair = [subprocess.Popen([*run, str(both)], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(600) for process in pair] == [0, 0]
    assert records(both) == records(alone)
    assert nets(both) == nets(alone)
    assert len((both / "results.jsonl").read_text(encoding="utf-8").splitlines()) == len(records(alone))
