"""Ray: cells as tasks on its nodes, which see the store; what they tell comes through an actor."""

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
from smc_eval.engine.executors.worker import PROGRESS_SECONDS, ProgressSender, carry_out
from smc_eval.errors import UsageError, first_line
from smc_eval.store.record import Record
from smc_eval.store.store import Store

CONNECT_SECONDS = 10.0
"""Seconds in which a cluster must answer at its address."""


class ProgressInbox:
    """Hears what cells tell wherever they are, until it is asked."""

    def __init__(self) -> None:
        self.heard = list[tuple[int, Progress]]()

    def hear(self, number: int, told: Progress) -> None:
        """A cell tells something."""
        self.heard.append((number, told))

    def empty(self) -> list[tuple[int, Progress]]:
        """What was told since this was asked last."""
        heard, self.heard = self.heard, []
        return heard


@dataclass(frozen=True)
class RayTask:
    """A cell that the cluster has."""

    job: Job
    number: int
    tell: Callable[[Progress], None]
    future: Future[Record | None]


class Ray:
    """Tasks of a Ray cluster, each a cell: one accelerator each, where the cluster has any, else CPUs."""

    def __init__(self, settings: WorkerSettings, jobs: int | None, *, address: str) -> None:
        """Attach to the cluster of an address; without one, to that of this machine, or start it.

        Raises:
            UsageError: no cluster answers there, or none of its nodes has so many CPUs.
        """
        self._aside = redirect_stdout(sys.stderr)  # ray tells of the dead on the standard output
        self._aside.__enter__()
        self._ours = not ray.is_initialized()
        self._over, self._thread = threading.Event(), threading.Thread(target=self._attend, name="ray")
        self._fault: Exception | None = None
        self._tasks, self._count = dict[Any, RayTask](), 0
        self.store = Store(settings.folder)
        try:
            self._attach(address)
            self.settings = replace(settings, threads=settings.threads or 1)
            self.slots, self._cell = self._offer(jobs)
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
            self._inbox = ray.remote(ProgressInbox).options(num_cpus=0, scheduling_strategy=here).remote()
        except BaseException:
            self.shutdown()
            raise
        self._thread.start()

    def submit(self, job: Job, tell: Callable[[Progress], None]) -> Future[Record | None]:
        if self._fault:
            raise self._fault
        self._count += 1
        task = RayTask(job, self._count, tell, Future())
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
        self._aside.__exit__(None, None, None)

    def _attach(self, address: str) -> None:
        if not self._ours:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # ray would tell its makers
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            if port.isdecimal():  # ray itself knocks for many minutes where nobody is
                socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            ray.init(address or None, log_to_driver=False, logging_level=logging.ERROR)
        except (RayError, RuntimeError, ValueError, OSError, OverflowError) as error:
            reason = first_line(error)
            raise UsageError(f"--executor ray:{address}: no cluster answers: {reason}") from None

    def _offer(self, jobs: int | None) -> tuple[int, Any]:
        """How many cells the cluster has room for, and the remote function that is one."""
        sizes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        threads, gpus = self.settings.threads or 1, sum(int(size.get("GPU", 0)) for size in sizes)
        if self.settings.device == "cpu":
            gpus = 0
        most = max((int(size.get("CPU", 0)) for size in sizes), default=0)
        if threads > most:
            raise UsageError(f"--threads {threads}: no node of the cluster has more than {most} CPUs")
        room = gpus or sum(int(size.get("CPU", 0)) // threads for size in sizes)
        # the foreman tries again what died, and knows what of
        options = {"num_cpus": threads, "num_gpus": 1 if gpus else 0, "max_retries": 0}
        return jobs or room, ray.remote(run_cell).options(**options)

    def _attend(self) -> None:
        """Pass on what cells tell, and settle those that have ended; what goes wrong here is told to all."""
        try:
            while not self._over.wait(PROGRESS_SECONDS):
                refs = list(self._tasks)
                done = ray.wait(refs, num_returns=len(refs), timeout=0)[0] if refs else []
                with suppress(RayActorError):  # whose node died: cells go on, unheard
                    self._pass_on()
                for ref in done:
                    self._settle(ref)
        except Exception as error:
            self._fault = UsageError(f"the Ray cluster is out of reach: {error}")
            for task in self._tasks.values():
                task.future.set_exception(self._fault)

    def _pass_on(self) -> None:
        tells = {task.number: task.tell for task in list(self._tasks.values())}
        for number, told in ray.get(self._inbox.empty.remote()):
            if number in tells:
                tells[number](told)

    def _settle(self, ref: Any) -> None:
        task = self._tasks.pop(ref)
        try:
            end = ray_outcome(ref)
        except (WorkerDied, UsageError) as error:
            task.future.set_exception(error)
        else:
            task.future.set_result(end)

    def _cancel(self) -> None:
        """End what is at work: politely first, so that it gives back its leases."""
        for ref in self._tasks:
            ray.cancel(ref)
        ours = {task.job.chain.digest for task in self._tasks.values()}
        until = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < until and ours & self.store.leases.living():
            time.sleep(0.1)
        for ref in self._tasks:
            ray.cancel(ref, force=True)


def run_cell(
    job: Job, settings: WorkerSettings, number: int, inbox: Any, folder: Path
) -> Finished | CannotWork:
    """What a task does, in the folder in which the run was started, if its node has that."""
    with suppress(OSError):
        os.chdir(folder)
    return carry_out(job, settings, ProgressSender(lambda told: inbox.hear.remote(number, told)))


def ray_outcome(ref: Any) -> Record | None:
    """What came of a task.

    Raises:
        WorkerDied: its process or its node died; ray does not tell what of.
        UsageError: it cannot work at all.
    """
    try:
        said: Finished | CannotWork = ray.get(ref)
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
    if isinstance(said, CannotWork):
        raise UsageError(said.reason)
    return said.result
