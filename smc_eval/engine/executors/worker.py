"""Worker: the process that runs cells for another process, and reports their progress to it."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from smc_eval.engine.executors.jobs import CannotWork, Finished, Progress
from smc_eval.engine.pace import Pace
from smc_eval.engine.progress import Silent, StepValues
from smc_eval.engine.stop_signals import STOP_SIGNALS, Stopped
from smc_eval.errors import SmcError
from smc_eval.store.record import Record

if TYPE_CHECKING:
    from smc_eval.engine.device import Device
    from smc_eval.engine.executors.jobs import Job, WorkerSettings
    from smc_eval.engine.progress import Watcher
    from smc_eval.store.store import Store

PROGRESS_SECONDS = 0.25
"""Seconds between two reports of steps."""


class ProgressSender(Silent):
    """A watcher that sends its calls elsewhere; of all steps, a few a second.

    For trackers (`measured`) the values of these steps go along, and the last step of a stage is always sent.
    """

    def __init__(self, send: Callable[[Progress], object], *, measured: bool = False) -> None:
        self.send, self.measured = send, measured
        self.due, self.steps = 0.0, 0
        self.read: Callable[[], StepValues] | None = None
        self.pace = Pace(PROGRESS_SECONDS)

    def stage(self, label: str, steps: int, done: int) -> None:
        self.read, self.steps = None, steps
        self.due = time.monotonic() + PROGRESS_SECONDS
        self._report("stage", label, steps, done)

    def measure(self, read: Callable[[], StepValues]) -> None:
        if self.measured:
            self.read, self.due = read, 0.0  # the first step too

    def step(self, done: int, loss: float | None) -> None:
        last = self.read is not None and done == self.steps
        if (now := time.monotonic()) >= self.due or last:
            self.due = now + PROGRESS_SECONDS
            if self.read and (last or self.pace.due):
                with self.pace.spending():
                    values = self.read()
                self._report("measure", partial(StepValues, **vars(values)))
            self._report("step", done, loss)

    def note(self, text: str, *, warning: bool = False) -> None:
        self._report("note", text, warning=warning)

    def _report(self, method: str, *args: Any, **kwargs: Any) -> None:
        try:
            self.send(Progress(method, args, kwargs))
        except OSError:  # the process that started this one has ended
            os._exit(1)


def serve(pipe: Connection, settings: WorkerSettings, slot: int) -> None:
    """Run the cells that come through a pipe, until it closes."""
    for name in ("SIGINT", "SIGHUP"):  # a terminal sends them to all; the parent ends this process
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_exit_with_parent, name="parent", daemon=True).start()
    if settings.devices:  # before torch reads it
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.devices[slot % len(settings.devices)]

    try:
        with STOP_SIGNALS.handled():
            job = pipe.recv()
            place = open_settings(settings)
            while True:
                sender = ProgressSender(pipe.send, measured=settings.measured)
                pipe.send(Finished(_attempt(job, settings, place, sender)))
                job = pipe.recv()
    except (EOFError, BrokenPipeError):
        return
    except Stopped as error:  # the parent ends this process; a training has saved its state
        sys.exit(error.exit_code)
    except (Exception, SystemExit) as error:
        pipe.send(_cannot_work(error))


def run_job(job: Job, settings: WorkerSettings, watcher: Watcher) -> Finished | CannotWork:
    """Run one cell in this process, wherever an executor started it."""
    from smc_eval.engine.executors.attempt import ends_job  # torch takes seconds to import

    try:
        return Finished(_attempt(job, settings, open_settings(settings), watcher))
    except (Exception, SystemExit) as error:
        if ends_job(error):
            raise
        return _cannot_work(error)


def open_settings(settings: WorkerSettings) -> tuple[Store, Device]:
    """The store and the device of a run."""
    from smc_eval.engine.device import Device
    from smc_eval.store.store import Store

    return Store(settings.folder), Device(settings.device, settings.threads)


def _attempt(
    job: Job, settings: WorkerSettings, place: tuple[Store, Device], watcher: Watcher
) -> Record | None:
    from smc_eval.engine.cell_run import CellOptions, CellRun
    from smc_eval.engine.executors.attempt import attempt

    store, device = place
    with output_in_log(store, job.chain.digest):
        options = CellOptions(
            settings.keep,
            settings.masks,
            wait=False,
            checkpoint_seconds=settings.checkpoint_seconds,
            parts=job.parts,
            records_read=job.records_read,
        )
        return attempt(CellRun(job.chain, store, device, watcher, options))


def _cannot_work(error: BaseException) -> CannotWork:
    message = str(error) if isinstance(error, SmcError) else f"{type(error).__name__}: {error}"
    return CannotWork(f"a worker cannot work: {message}")


@contextmanager
def output_in_log(store: Store, digest: str) -> Iterator[None]:
    """Within, the output of this process goes to the cell's log; an empty log is deleted."""
    try:
        path = store.log(digest)
        log = os.open(path, os.O_WRONLY | os.O_APPEND)
    except (SmcError, OSError):  # the cell can run without a log
        yield
        return
    before = [os.dup(1), os.dup(2)]
    try:
        for number in (1, 2):
            os.dup2(log, number)
        faulthandler.enable(2)  # a crash leaves its stack there
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in zip((1, 2), before, strict=True):
            os.dup2(old, number)
            os.close(old)
        os.close(log)
        with suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()


def _exit_with_parent() -> None:
    """End this process when the process that started it ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
