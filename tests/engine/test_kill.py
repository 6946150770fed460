"""Killed at any moment, started again: bit for bit the run that was never killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from smc_eval.engine import train
from smc_eval.engine.runner import run
from smc_eval.engine.watch import Silent
from smc_eval.methods.dense import Dense
from smc_eval.methods.lottery import Lottery
from smc_eval.methods.magnitude import MagnitudeAfter
from smc_eval.target import Target
from smc_eval.testing import bound
train.CHECKPOINT_SECONDS = 0.0

class Slow(Silent):
    def step(self, done, loss):
        print("at work", flush=True)
        time.sleep(0.01)

half = Target(sparsity=0.5)
chains = [bound(Dense(), Target()), bound(MagnitudeAfter(), half), bound(Lottery(), half)]
run(chains, Path(sys.argv[1]), device="cpu", watcher=Slow())
"""


def lines(folder: Path) -> list[dict[str, object]]:
    """The book's records without seconds and memory."""
    from smc_eval.store.store import Store
    from smc_eval.testing import without_time

    latest = Store(folder).records.latest()
    return [without_time(latest[digest]) for digest in sorted(latest)]


def nets(folder: Path) -> list[tuple[str, bytes]]:
    """Every kept net by digest, and its bytes."""
    return sorted(
        (path.name, (path / "net.safetensors").read_bytes()) for path in (folder / "nets").iterdir()
    )


@pytest.mark.timeout(900)  # dozens of processes, each of which imports torch
def test_kill_nine_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(whole)], check=True, timeout=600, stdout=subprocess.DEVNULL
    )
    chance, kills = random.Random(7), 0
    for _ in range(40):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(killed)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        if process.wait(60) == 0:
            break
        kills += 1
    else:
        raise AssertionError("the killed runs never came to an end: nothing is resumed")
    assert kills >= 2
    assert lines(killed) == lines(whole)
    assert nets(killed) == nets(whole)


@pytest.mark.timeout(900)
def test_two_processes_on_one_store_do_each_cell_once_and_no_harm(tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    run = [sys.executable, "-c", SCRIPT]
    subprocess.run([*run, str(alone)], check=True, timeout=600, stdout=subprocess.DEVNULL)
    pair = [subprocess.Popen([*run, str(both)], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(600) for process in pair] == [0, 0]
    assert lines(both) == lines(alone)
    assert nets(both) == nets(alone)
    assert len((both / "results.jsonl").read_text(encoding="utf-8").splitlines()) == len(lines(alone))
