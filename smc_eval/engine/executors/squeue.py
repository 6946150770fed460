"""The queue of SLURM: how jobs stand in it, and how they are taken out."""

from __future__ import annotations

import getpass
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from smc_eval.engine.executors.local import STOP_TIMEOUT

LIVE = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "SUSPENDED",
        "STOPPED",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
        "COMPLETING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "SPECIAL_EXIT",
        "RESV_DEL_HOLD",
    }
)
"""States in which a job may yet come to something."""
FATAL = frozenset({"TIMEOUT", "CANCELLED", "DEADLINE"})
"""States that somebody decided on: another try would end the same."""


def job_states(jobs: Sequence[Any], *, local: bool) -> Mapping[str, str] | None:
    """The state of each job by its number, as far as it is known; None where SLURM does not answer.

    Asked of squeue, which every SLURM has, and which tells a job's end for some minutes; accounting
    is not everywhere.
    """
    if local:
        return {job.job_id: job.state for job in jobs}
    command = [
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        "--format=%i %T",
        "--user",
        getpass.getuser(),
    ]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split(" ", 1) for line in told.splitlines() if " " in line)


def cancel(jobs: Sequence[Any], *, local: bool) -> None:
    """End jobs, in the queue or at work: politely first, so that they give back their leases."""
    if local:
        for job in jobs:
            job.cancel()
        until = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < until and not all(job.done() for job in jobs):
            time.sleep(0.05)
    elif jobs:
        scancel([job.job_id for job in jobs])


def scancel(numbers: Sequence[str]) -> None:
    """Have SLURM end jobs; a SIGTERM alone they would take for the beginning of a preemption."""
    for words in (["--signal=INT"], []):
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                ["scancel", "--quiet", *words, *numbers], capture_output=True, check=False, timeout=60
            )
