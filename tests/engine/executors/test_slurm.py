"""Cells as jobs: on submitit's stand-in for a cluster always, on SLURM itself where there is one."""

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

pytestmark = pytest.mark.timeout(900)  # each job imports torch


@pytest.fixture(params=["slurm:cluster=local", "slurm:time=10"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The word of an engine."""
    if "local" not in request.param and not REAL:
        pytest.skip("no SLURM here: tox -e slurm installs one")
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 2.0)
    monkeypatch.setattr(slurm, "GRACE", 2.0)
    return request.param


def test_jobs_end_with_the_records_of_one_process(bench: Any, engine: str, watcher: Any) -> None:
    bench.run("jobs", executor=engine, jobs=2, watcher=watcher)
    assert any("is pending" in stage for stage in watcher.stages)
    bench.assert_undisturbed("jobs")


def test_a_job_killed_mid_cell_goes_on_from_its_checkpoint_once_more(
    bench: Any, engine: str, watcher: Any
) -> None:
    bench.file.write_text(str(int(signal.SIGKILL)))
    dense, after = bench.run("jobs", bench.chains[:2], executor=engine, watcher=watcher)
    assert dense.sound and bench.passes() == after.cost.steps + 1  # the pass in which it died
    (note,) = watcher.notes
    assert note.startswith("its worker ended with its job ") and note.endswith("; once more")
    bench.assert_undisturbed("jobs", bench.chains[:2])


def test_a_preempted_job_is_requeued_and_goes_on_from_its_checkpoint(
    bench: Any, engine: str, watcher: Any
) -> None:
    bench.file.write_text(str(int(signal.SIGUSR2)))  # what submitit has SLURM send
    dense, after = bench.run("jobs", bench.chains[:2], executor=engine, watcher=watcher)
    assert dense.sound and bench.passes() == after.cost.steps + 1
    assert watcher.notes == []  # nobody died
    bench.assert_undisturbed("jobs", bench.chains[:2])


def test_what_was_submitted_ends_with_the_run(bench: Any, engine: str) -> None:
    bench.file.write_text("wait")
    waits = bench.file.with_name("told.waits")

    def interrupt() -> None:
        while not waits.exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        bench.run("jobs", bench.chains[:2], executor=engine)
    thread.join()
    for _ in range(100):
        if not Path(f"/proc/{waits.read_text()}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{waits.read_text()}").exists()
    assert not (bench.folder / "jobs" / "slurm").exists()
    bench.run("jobs", bench.chains[:2])  # in this process, at once: the job gave back its leases
    bench.assert_undisturbed("jobs", bench.chains[:2])
