"""The folders of SLURM runs: the next run clears those of killed runs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("submitit", reason="needs smc-eval[slurm]")

from smc_eval.engine.executors import slurm
from smc_eval.engine.executors.slurm import claim_folder
from smc_eval.store.store import Store


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Numbers of the jobs that were cancelled."""
    numbers = list[str]()
    monkeypatch.setattr(slurm, "scancel", numbers.extend)
    return numbers


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An open store."""
    store = Store(tmp_path)
    store.open()
    return store


def submitted(folder: Path, *numbers: str) -> None:
    for number in numbers:
        (folder / f"{number}_submitted.pkl").touch()


def test_the_next_run_cancels_the_jobs_of_a_killed_run(store: Store, cancelled: list[str]) -> None:
    dead, lease = claim_folder(store, "slurm")
    submitted(dead, "12_0", "12_1")
    lease.release()  # as when it is no longer renewed
    own, mine = claim_folder(store, "slurm")
    assert sorted(cancelled) == ["12_0", "12_1"]
    assert list(own.parent.iterdir()) == [own]
    mine.release()


def test_the_jobs_of_a_living_run_are_not_cancelled(store: Store, cancelled: list[str]) -> None:
    theirs, lease = claim_folder(store, "slurm")
    submitted(theirs, "7")
    _, mine = claim_folder(store, "slurm")
    assert (cancelled, (theirs / "7_submitted.pkl").exists()) == ([], True)
    lease.release()
    mine.release()


def test_the_local_processes_of_a_killed_run_are_not_cancelled(store: Store, cancelled: list[str]) -> None:
    """Other processes may have their numbers by now."""
    dead, lease = claim_folder(store, "local")
    submitted(dead, "4711")
    lease.release()
    _, mine = claim_folder(store, "slurm")
    assert (cancelled, dead.exists()) == ([], False)
    mine.release()
