"""Ray executor: cells as tasks on the nodes of a cluster; their progress comes through an actor.

All nodes need the store's folder.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from smc_eval.engine.executors.jobs import CannotWork, Finished, Job, Progress, WorkerDied, WorkerSettings
from smc_eval.engine.executors.local import STOP_TIMEOUT
from smc_eval.engine.executors.worker import PROGRESS_SECONDS, ProgressSender, run_job
from smc_eval.errors import UsageError, first_line
from smc_eval.store.record import Record
from smc_eval.store.store import Store

CONNECT_SECONDS = 10.0
"""Seconds in which a cluster must answer at its address."""


class ProgressInbox:
    """Collects the progress of all cells, on any node, until the run reads it."""

    def __init__(self) -> None:
        self.messages = list[tuple[int, Progress]]()

    def add(self, number: int, progress: Progress) -> None:
        """Add a message from a cell."""
        self.messages.append((number, progress))

    def empty(self) -> list[tuple[int, Progress]]:
        """All messages since the last call."""
        messages, self.messages = self.messages, []
        return messages


@dataclass(frozen=True)
class RayTask:
    """A cell that the cluster runs."""

    job: Job
    number: int
    report: Callable[[Progress], None]
    future: Future[Record | None]


class Ray:
    """Tasks of a Ray cluster, one a cell. Each takes an accelerator if the cluster has any, else CPUs."""

    def __init__(self, settings: WorkerSettings, jobs: int | None, *, address: str) -> None:
        """Connect to the cluster at an address; without one, to the one on this machine, or start it.

        Raises:
            UsageError: no cluster answers there, or no node has as many CPUs as a task needs.
        """
        self._redirect = redirect_stdout(sys.stderr)  # ray reports dead processes on standard output
        self._redirect.__enter__()
        self._ours = not ray.is_initialized()
        self._over, self._thread = threading.Event(), threading.Thread(target=self._watch, name="ray")
        self._fault: Exception | None = None
        self._tasks, self._count = dict[Any, RayTask](), 0
        self.store = Store(settings.folder)
        try:
            self._connect(address)
            self.settings = replace(settings, threads=settings.threads or 1)
            self.slots, self._cell = self._remote_cell(jobs)
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
            self._inbox = ray.remote(ProgressInbox).options(num_cpus=0, scheduling_strategy=here).remote()
        except BaseException:
            self.shutdown()
            raise
        self._thread.start()

    def submit(self, job: Job, report: Callable[[Progress], None]) -> Future[Record | None]:
        if self._fault:
            raise self._fault
        self._count += 1
        task = RayTask(job, self._count, report, Future())
        self._tasks[self._cell.remote(job, self.settings, task.number, self._inbox, Path.cwd())] = task
        return task.future

    def shutdown(self) -> None:
        self._over.set()
        if self._thread.ident:
            self._thread.join()
        with suppress(RayError):
            self._cancel()
        if self._ours:
            ray.shutdown()
        self._redirect.__exit__(None, None, None)

    def _connect(self, address: str) -> None:
        if not self._ours:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else ray sends reports of its use
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            if port.isdecimal():  # ray itself waits many minutes for a missing cluster
                socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            ray.init(address or None, log_to_driver=False, logging_level=logging.ERROR)
        except (RayError, RuntimeError, ValueError, OSError, OverflowError) as error:
            reason = first_line(error)
            raise UsageError(f"--executor ray:{address}: no cluster answers: {reason}") from None

    def _remote_cell(self, jobs: int | None) -> tuple[int, Any]:
        """Number of cells that fit into the cluster, and the remote function that runs one."""
        sizes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        threads, gpus = self.settings.threads or 1, sum(int(size.get("GPU", 0)) for size in sizes)
        if self.settings.device == "cpu":
            gpus = 0
        most = max((int(size.get("CPU", 0)) for size in sizes), default=0)
        if threads > most:
            raise UsageError(f"--threads {threads}: no node of the cluster has more than {most} CPUs")
        room = gpus or sum(int(size.get("CPU", 0)) // threads for size in sizes)
        # the dispatcher retries tasks, and knows why they died
        options = {"num_cpus": threads, "num_gpus": 1 if gpus else 0, "max_retries": 0}
        return jobs or room, ray.remote(run_cell).options(**options)

    def _watch(self) -> None:
        """Pass on progress, and settle the tasks that have ended; an error here fails all tasks."""
        try:
            while not self._over.wait(PROGRESS_SECONDS):
                refs = list(self._tasks)
                done = ray.wait(refs, num_returns=len(refs), timeout=0)[0] if refs else []
                with suppress(RayActorError):  # its node died: cells continue without progress
                    self._pass_on_progress()
                for ref in done:
                    self._settle(ref)
        except Exception as error:
            self._fault = UsageError(f"the Ray cluster is out of reach: {error}")
            for task in self._tasks.values():
                task.future.set_exception(self._fault)

    def _pass_on_progress(self) -> None:
        reports = {task.number: task.report for task in list(self._tasks.values())}
        for number, progress in ray.get(self._inbox.empty.remote()):
            if number in reports:
                reports[number](progress)

    def _settle(self, ref: Any) -> None:
        task = self._tasks.pop(ref)
        try:
            record = ray_outcome(ref)
        except (WorkerDied, UsageError) as error:
            task.future.set_exception(error)
        else:
            task.future.set_result(record)

    def _cancel(self) -> None:
        """End all tasks: first with an interrupt, so that they give back their leases."""
        for ref in self._tasks:
            ray.cancel(ref)
        ours = {task.job.chain.digest for task in self._tasks.values()}
        until = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < until and ours & self.store.leases.active():
            time.sleep(0.1)
        for ref in self._tasks:
            ray.cancel(ref, force=True)


def run_cell(
    job: Job, settings: WorkerSettings, number: int, inbox: Any, folder: Path
) -> Finished | CannotWork:
    """Run a task, in the folder in which the run was started, if its node has that folder."""
    with suppress(OSError):
        os.chdir(folder)
    sender = ProgressSender(lambda progress: inbox.add.remote(number, progress), measured=settings.measured)
    return run_job(job, settings, sender)


def ray_outcome(ref: Any) -> Record | None:
    """The record of a task; None if another process works on its cell.

    Raises:
        WorkerDied: its process or its node died; ray does not give the cause.
        UsageError: it cannot run any cell.
    """
    try:
        outcome: Finished | CannotWork = ray.get(ref)
    except RayTaskError as error:  # it could not even begin
        raise UsageError(f"a Ray task cannot work: {str(error).strip().splitlines()[-1]}") from None
    except OutOfMemoryError:
        raise WorkerDied("was killed by Ray", killed=True, memory=True) from None
    except NodeDiedError:
        raise WorkerDied("died with its node", killed=True) from None
    except TaskCancelledError:
        raise WorkerDied("was cancelled", killed=False) from None
    except RayError:
        raise WorkerDied("died", killed=True) from None
    if isinstance(outcome, CannotWork):
        raise UsageError(outcome.reason)
    return outcome.record
