"""Local executor: worker processes on this machine, in the form of concurrent.futures.

A pool whose processes share queues dies or hangs if one of them is killed; that holds for the standard
library's pool and for loky's. So each worker here has its own pipe, and a thread that waits for it.
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
"""Seconds that a worker has to end after a SIGTERM."""


class Local:
    """Worker processes on this machine. If one dies, only its cell fails, and another worker starts."""

    def __init__(self, settings: WorkerSettings, slots: int) -> None:
        self.slots = slots
        self._workers = [Worker(settings, slot) for slot in range(slots)]
        self._idle = SimpleQueue[Worker]()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(slots, initializer=block_sigint)

    def submit(self, job: Job, report: Callable[[Progress], None]) -> Future[Record | None]:
        return self._threads.submit(self._run, job, report)

    def _run(self, job: Job, report: Callable[[Progress], None]) -> Record | None:
        worker = self._idle.get()
        try:
            return worker.run(job, report)
        finally:
            self._idle.put(worker)

    def shutdown(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:  # one may have started meanwhile
            worker.stop()


class Worker:
    """A process that runs one cell at a time; started when it is first needed."""

    def __init__(self, settings: WorkerSettings, slot: int) -> None:
        self.settings, self.slot = settings, slot
        self.stopped = False
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def run(self, job: Job, report: Callable[[Progress], None]) -> Record | None:
        """The record of a cell; None if another process works on it.

        Raises:
            WorkerDied: the process ended before the cell did.
            UsageError: the process cannot run any cell: it has no such device.
        """
        kills = memory_kills()
        pipe = self._connect()
        try:
            pipe.send(job)
            while True:
                match pipe.recv():
                    case Finished(record=record):
                        return record
                    case CannotWork(reason=reason):
                        raise UsageError(reason)
                    case progress:
                        report(progress)
        except (EOFError, OSError):
            code = self._exit_code()
            memory = code == -signal.SIGKILL and (kills is None or memory_kills() != kills)
            raise WorkerDied.by_exit_code(code, memory=memory) from None

    def _connect(self) -> Connection:
        """The pipe to a living process, which is started if there is none."""
        if self._process is None or self._pipe is None or not self._process.is_alive():
            if self.stopped:
                raise WorkerDied.by_exit_code(-signal.SIGTERM)
            here, there = multiprocessing.get_context("spawn").Pipe()
            spawn: Any = multiprocessing.get_context("spawn").Process
            process: BaseProcess = spawn(
                target=serve, args=(there, self.settings, self.slot), name=f"smc-eval worker {self.slot}"
            )
            process.start()
            there.close()
            self._process, self._pipe = process, here
        return self._pipe

    def _exit_code(self) -> int:
        """The exit code of the process, after it closed its pipe."""
        assert self._process is not None
        self._process.join(STOP_TIMEOUT)
        code = self._process.exitcode
        if code is None:  # it closed its pipe, and still runs
            self._process.kill()
            self._process.join()
        self._process = None
        return code if code is not None else -signal.SIGKILL

    def stop(self) -> None:
        """End the process, also in the middle of a cell. Its checkpoints stay in the store."""
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
    """Block Ctrl-C in processes that this thread starts: their parent process ends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def memory_kills(vmstat: Path = Path("/proc/vmstat")) -> int | None:
    """Number of processes that this kernel killed because memory ran short; None if it has no count."""
    try:
        counts = vmstat.read_text(encoding="ascii")
    except OSError:
        return None
    kills = [line.partition(" ")[2] for line in counts.splitlines() if line.startswith("oom_kill ")]
    return int(kills[0]) if kills else None
