"""Executors: engines that carry out cells, in the shape of concurrent.futures; here, worker processes.

Others are in slurm.py and ray.py.

A pool that shares queues among its processes dies or hangs with one that is killed (the standard
library's, loky's); so each worker here has a pipe of its own, and a thread that waits for it.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from smc_eval.engine.executors.jobs import CannotWork, Finished, Job, Progress, WorkerDied, WorkerSettings
from smc_eval.engine.executors.worker import serve
from smc_eval.errors import UsageError
from smc_eval.store.record import Record

STOP_TIMEOUT = 5.0
"""Seconds a worker has to end when it is asked to."""


class Local:
    """Worker processes on this machine. One that dies fails its cell alone, and is replaced."""

    def __init__(self, settings: WorkerSettings, slots: int) -> None:
        self.slots = slots
        self._workers = [Worker(settings, slot) for slot in range(slots)]
        self._idle = SimpleQueue[Worker]()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(slots, initializer=block_sigint)

    def submit(self, job: Job, tell: Callable[[Progress], None]) -> Future[Record | None]:
        return self._threads.submit(self._carry_out, job, tell)

    def _carry_out(self, job: Job, tell: Callable[[Progress], None]) -> Record | None:
        worker = self._idle.get()
        try:
            return worker.carry_out(job, tell)
        finally:
            self._idle.put(worker)

    def shutdown(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:  # one may have been on its way
            worker.stop()


class Worker:
    """A process that carries out one cell at a time; started when it is first needed."""

    def __init__(self, settings: WorkerSettings, slot: int) -> None:
        self.settings, self.slot = settings, slot
        self.stopped = False
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def carry_out(self, job: Job, tell: Callable[[Progress], None]) -> Record | None:
        """The record of a cell; None where another process has it.

        Raises:
            WorkerDied: the process ended before the cell did.
            UsageError: the process cannot work at all: it has no such device.
        """
        kills = memory_kills()
        pipe = self._started()
        try:
            pipe.send(job)
            while True:
                match pipe.recv():
                    case Finished(result=result):
                        return result
                    case CannotWork(reason=reason):
                        raise UsageError(reason)
                    case told:
                        tell(told)
        except (EOFError, OSError):
            code = self._code()
            memory = code == -signal.SIGKILL and (kills is None or memory_kills() != kills)
            raise WorkerDied.of(code, memory=memory) from None

    def _started(self) -> Connection:
        if self._process is None or self._pipe is None or not self._process.is_alive():
            if self.stopped:
                raise WorkerDied.of(-signal.SIGTERM)
            here, there = multiprocessing.get_context("spawn").Pipe()
            spawn: Any = multiprocessing.get_context("spawn").Process
            process: BaseProcess = spawn(
                target=serve, args=(there, self.settings, self.slot), name=f"smc-eval worker {self.slot}"
            )
            process.start()
            there.close()
            self._process, self._pipe = process, here
        return self._pipe

    def _code(self) -> int:
        """How the process ended."""
        assert self._process is not None
        self._process.join(STOP_TIMEOUT)
        code = self._process.exitcode
        if code is None:  # it closed its pipe, but lives on
            self._process.kill()
            self._process.join()
        self._process = None
        return code if code is not None else -signal.SIGKILL

    def stop(self) -> None:
        """End the process, whatever it is at; what it has kept in the store stays."""
        self.stopped = True
        process = self._process
        if process is None:
            return
        with suppress(OSError, ValueError):
            process.terminate()
            process.join(STOP_TIMEOUT)
            process.kill()
            process.join()


def block_sigint() -> None:
    """Let processes that this thread starts be deaf to Ctrl-C: who started them ends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def memory_kills(told: Path = Path("/proc/vmstat")) -> int | None:
    """How many processes this kernel has killed because memory ran short; None where it does not tell."""
    try:
        counts = told.read_text(encoding="ascii")
    except OSError:
        return None
    found = [line.partition(" ")[2] for line in counts.splitlines() if line.startswith("oom_kill ")]
    return int(found[0]) if found else None
