"""What a run of SLURM jobs leaves when it is killed, and who clears it away."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("submitit", reason="needs smc-eval[slurm]")

from smc_eval.engine.executors import slurm
from smc_eval.engine.executors.slurm import claim_folder
from smc_eval.store.store import Store


@pytest.fixture
def dismissed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Numbers of the jobs that SLURM was told to end."""
    numbers = list[str]()
    monkeypatch.setattr(slurm, "dismiss", numbers.extend)
    return numbers


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that is open."""
    store = Store(tmp_path)
    store.open()
    return store


def submitted(folder: Path, *numbers: str) -> None:
    for number in numbers:
        (folder / f"{number}_submitted.pkl").touch()


def test_jobs_of_a_killed_run_are_taken_out_of_the_queue_by_the_next(
    store: Store, dismissed: list[str]
) -> None:
    dead, lease = claim_folder(store, "slurm")
    submitted(dead, "12_0", "12_1")
    lease.release()  # as it runs out when nobody renews it
    own, mine = claim_folder(store, "slurm")
    assert sorted(dismissed) == ["12_0", "12_1"]
    assert list(own.parent.iterdir()) == [own]
    mine.release()


def test_jobs_of_a_living_run_are_left_alone(store: Store, dismissed: list[str]) -> None:
    theirs, lease = claim_folder(store, "slurm")
    submitted(theirs, "7")
    _, mine = claim_folder(store, "slurm")
    assert (dismissed, (theirs / "7_submitted.pkl").exists()) == ([], True)
    for one in (lease, mine):
        one.release()


def test_processes_of_a_killed_run_are_no_jobs(store: Store, dismissed: list[str]) -> None:
    """The numbers of a stand-in's processes may be anybody's by now."""
    dead, lease = claim_folder(store, "local")
    submitted(dead, "4711")
    lease.release()
    _, mine = claim_folder(store, "slurm")
    assert (dismissed, dead.exists()) == ([], False)
    mine.release()
