"""The queue of SLURM: the states of jobs, and how to cancel them."""

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
"""States in which a job may still give a result."""
FATAL = frozenset({"TIMEOUT", "CANCELLED", "DEADLINE"})
"""States that a person or a limit decided: another try would end the same."""


def job_states(jobs: Sequence[Any], *, local: bool) -> Mapping[str, str] | None:
    """The state of each job by its number, as far as it is known; None if SLURM does not answer.

    They come from squeue, which every SLURM has, and which shows ended jobs for some minutes. Many
    clusters have no accounting.
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
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split(" ", 1) for line in output.splitlines() if " " in line)


def cancel(jobs: Sequence[Any], *, local: bool) -> None:
    """End jobs, waiting or running: first with an interrupt, so that they give back their leases."""
    if local:
        for job in jobs:
            job.cancel()
        until = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < until and not all(job.done() for job in jobs):
            time.sleep(0.05)
    elif jobs:
        scancel([job.job_id for job in jobs])


def scancel(numbers: Sequence[str]) -> None:
    """Cancel SLURM jobs. With a plain SIGTERM they would expect a preemption, so SIGINT comes first."""
    for words in (["--signal=INT"], []):
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                ["scancel", "--quiet", *words, *numbers], capture_output=True, check=False, timeout=60
            )
