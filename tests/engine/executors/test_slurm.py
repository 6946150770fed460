"""Cells as SLURM jobs: always with submitit's local executor, and on a real SLURM if there is one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("submitit", reason="needs smc-eval[slurm]")

from smc_eval.engine.executors import slurm

REAL = (
    bool(shutil.which("sinfo")) and not subprocess.run(["sinfo"], capture_output=True, check=False).returncode
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # each job imports torch


@pytest.fixture(params=["slurm:cluster=local", "slurm:time=10"])
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The value of `--executor`."""
    if "local" not in request.param and not REAL:
        pytest.skip("no SLURM here: tox -e slurm installs one")
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 2.0)
    monkeypatch.setattr(slurm, "GRACE_SECONDS", 2.0)
    return request.param


def test_jobs_give_the_records_of_one_process(cells: Any, executor: str, watcher: Any) -> None:
    cells.run("jobs", executor=executor, jobs=2, watcher=watcher)
    assert any("is pending" in stage for stage in watcher.stages)
    cells.assert_undisturbed("jobs")


def test_a_killed_job_is_tried_again_from_its_checkpoint(cells: Any, executor: str, watcher: Any) -> None:
    cells.file.write_text(str(int(signal.SIGKILL)))
    dense, after = cells.run("jobs", cells.chains[:2], executor=executor, watcher=watcher)
    assert dense.sound and cells.passes() == after.cost.steps + 2  # the last one, and that of the use
    (note,) = watcher.notes
    assert note.startswith("its worker ended with its job ") and note.endswith("; trying again")
    cells.assert_undisturbed("jobs", cells.chains[:2])


def test_a_preempted_job_is_requeued_and_continues_from_its_checkpoint(
    cells: Any, executor: str, watcher: Any
) -> None:
    cells.file.write_text(str(int(signal.SIGUSR2)))  # the signal that SLURM sends on behalf of submitit
    dense, after = cells.run("jobs", cells.chains[:2], executor=executor, watcher=watcher)
    assert dense.sound and cells.passes() == after.cost.steps + 2
    assert watcher.notes == []  # no worker died
    cells.assert_undisturbed("jobs", cells.chains[:2])


def test_an_interrupt_of_the_run_ends_its_jobs(cells: Any, executor: str, sigint: None) -> None:
    cells.file.write_text("wait")

    def interrupt() -> None:
        while not cells.waits.exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        cells.run("jobs", cells.chains[:2], executor=executor)
    thread.join()
    for _ in range(100):
        if not Path(f"/proc/{cells.waits.read_text()}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{cells.waits.read_text()}").exists()
    assert not (cells.folder / "jobs" / "slurm").exists()
    cells.run("jobs", cells.chains[:2])  # in this process, without a wait: the job gave back its leases
    cells.assert_undisturbed("jobs", cells.chains[:2])
