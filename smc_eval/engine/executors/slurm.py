"""SLURM: cells as its jobs, in arrays where many are ready at once, through submitit."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import submitit

from smc_eval.engine.executors.jobs import CannotWork, Finished, Job, Progress, WorkerDied, WorkerSettings
from smc_eval.engine.executors.local import block_sigint
from smc_eval.engine.executors.sbatch import SbatchOptions
from smc_eval.engine.executors.squeue import FATAL, LIVE, cancel, job_states, scancel
from smc_eval.engine.executors.worker import carry_out
from smc_eval.engine.progress import Silent
from smc_eval.errors import SmcError, StoreError, UsageError
from smc_eval.files.lease import Lease
from smc_eval.store.record import Record
from smc_eval.store.store import Store

SLOTS = 64
"""Jobs in the queue and at work, where no number is said."""
ARRAY = 1000
"""Jobs of one array: as many as SLURM allows where a site has not decided otherwise."""
REQUEUES = 10_000
"""Times that a job may meet its time limit and go on: the store has its checkpoint, so it gets there."""
RESULT_SECONDS = 1.0
"""Seconds between two looks for results."""
QUEUE_SECONDS = 15.0
"""Seconds between two questions to SLURM."""
GRACE = 30.0
"""Seconds in which a shared folder shows what a job wrote before it ended."""
AGAIN = 60.0
"""Seconds after which jobs that SLURM did not accept are submitted again."""


@dataclass(frozen=True)
class CellTask:
    """A cell as a job carries it out: submitit sends it, and again after a time-out or a preemption."""

    job: Job
    settings: WorkerSettings

    def __call__(self) -> Finished | CannotWork:
        return carry_out(self.job, self.settings, Silent())

    def checkpoint(self) -> Any:
        """What a requeued job does: the same, as the store knows how far it was."""
        return submitit.helpers.DelayedSubmission(self)


@dataclass
class Submission:
    """An errand on its way."""

    task: CellTask
    tell: Callable[[Progress], None]
    future: Future[Record | None]
    job: Any = None
    """submitit's, once SLURM has it."""
    state: str = ""
    ended: float | None = None
    """When it was first seen to have ended, by `time.monotonic`."""

    def stands(self, state: str) -> None:
        """Tell whoever watches where the job stands."""
        if state != self.state:
            self.state = state
            self.tell(Progress("stage", (f"SLURM job {self.job.job_id} is {state.lower()}", 1, 0), {}))


class Slurm:
    """Jobs on a SLURM cluster whose nodes see the store, in as few arrays as it goes.

    One thread sends what is new and looks what has ended. A job tells nothing before its end; how it
    goes is in the cell's log.
    """

    def __init__(self, settings: WorkerSettings, jobs: int | None, *, sbatch: SbatchOptions) -> None:
        """Raises UsageError where there is no SLURM."""
        if not sbatch.local and not shutil.which("sbatch"):
            raise UsageError("--executor slurm: there is no sbatch here; start where jobs are submitted")
        self.sbatch = sbatch.with_threads(settings.threads)
        self.settings = replace(settings, threads=self.sbatch.threads)
        self.slots = jobs or (1 if sbatch.local else SLOTS)
        self.store = Store(settings.folder)
        self.folder, self._lease = claim_folder(self.store, "local" if sbatch.local else "slurm")
        self._executor = self.sbatch.executor(self.folder, self.slots, REQUEUES)
        self._arrived, self._waiting, self._sent = (
            SimpleQueue[Submission](),
            list[Submission](),
            list[Submission](),
        )
        self._accepted, self._retry, self._asked = False, 0.0, 0.0
        self._over = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._attend, name="slurm")
        self._thread.start()

    def submit(self, job: Job, tell: Callable[[Progress], None]) -> Future[Record | None]:
        sent = Submission(CellTask(job, self.settings), tell, Future())
        if self._fault:
            raise self._fault
        self._arrived.put(sent)
        return sent.future

    def shutdown(self) -> None:
        self._over.set()
        self._thread.join()
        cancel([sent.job for sent in self._sent], local=self.sbatch.local)
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # another run has its jobs there
            self.folder.parent.rmdir()
        self._lease.release()

    def _attend(self) -> None:
        """Send and look until the end; what goes wrong here is told to all who wait."""
        if not self.sbatch.local:
            block_sigint()  # or Ctrl-C ends sbatch when SLURM has the job already, and nobody its number
        try:
            while not self._over.wait(RESULT_SECONDS):
                with suppress(Empty):
                    while True:
                        self._waiting.append(self._arrived.get_nowait())
                if self._waiting and time.monotonic() >= self._retry:
                    self._send()
                self._gather()
                self._question()
        except Exception as error:
            self._fault = error
            while not self._arrived.empty():
                self._waiting.append(self._arrived.get())
            for sent in [*self._waiting, *self._sent]:
                sent.future.set_exception(error)

    def _send(self) -> None:
        """Submit as many as one array holds.

        Raises:
            UsageError: SLURM accepts not even the first.
        """
        now = self._waiting[:ARRAY]
        try:
            jobs = self._executor.submit_array([sent.task for sent in now])
        except (RuntimeError, OSError) as error:  # submitit's own are RuntimeErrors
            said = str(error).strip() or type(error).__name__
            if not self._accepted:
                raise UsageError(f"SLURM does not accept the jobs: {said}") from None
            self._retry = time.monotonic() + AGAIN
            told = f"SLURM does not accept more jobs now, and is asked again in {AGAIN:g} s: {said}"
            now[0].tell(Progress("note", (told,), {"warning": True}))
            return
        self._accepted = True
        for sent, job in zip(now, jobs, strict=True):
            sent.job = job
            sent.stands("PENDING")
        self._waiting, self._sent = self._waiting[ARRAY:], [*self._sent, *now]

    def _gather(self) -> None:
        """Settle the jobs that left a result."""
        try:
            written = {path.name for path in self.folder.iterdir()}  # asks the file server, not a cache
        except OSError:
            self.store.check()
            raise
        for sent in list(self._sent):
            if sent.job.paths.result_pickle.name in written:
                self._settle(sent, outcome(sent.job))

    def _question(self) -> None:
        """Ask how the jobs stand, and settle those that ended a while ago and left no result."""
        now, (pause, grace) = (
            time.monotonic(),
            (0.0, RESULT_SECONDS) if self.sbatch.local else (QUEUE_SECONDS, GRACE),
        )
        if not self._sent or now < self._asked + pause:
            return
        self._asked = now
        states = job_states([sent.job for sent in self._sent], local=self.sbatch.local)
        if states is None:  # nobody answers
            return
        for sent in list(self._sent):
            state = states.get(sent.job.job_id, "GONE")
            sent.stands(state)
            sent.ended = None if state in LIVE else sent.ended or now
            if sent.ended is not None and now - sent.ended >= grace:
                self._settle(sent, self._death(sent))

    def _death(self, sent: Submission) -> WorkerDied | None:
        """What is to be said of a job that left no result; a preempted one is only sent again."""
        if sent.state == "PREEMPTED":
            return None
        with suppress(OSError, StoreError):  # what it said before the cell's own log was open
            said = sent.job.paths.stderr.read_text(encoding="utf-8", errors="replace")
            self.store.log(sent.task.job.chain.digest, said)
        memory = sent.state == "OUT_OF_MEMORY"
        how = f"ended with its job {sent.job.job_id} ({sent.state})"
        return WorkerDied(how, killed=sent.state not in FATAL, memory=memory)

    def _settle(self, sent: Submission, end: Record | SmcError | None) -> None:
        self._sent.remove(sent)
        for path in (sent.job.paths.submitted_pickle, sent.job.paths.result_pickle):
            path.unlink(missing_ok=True)
        if isinstance(end, SmcError):
            sent.future.set_exception(end)
        else:
            sent.future.set_result(end)


def outcome(job: Any) -> Record | UsageError | None:
    """What a job left as its result."""
    try:
        said: Finished | CannotWork = job.result()
    except submitit.core.utils.UncompletedJobError as error:  # it could not even begin
        lines = str(error).partition("trace:")[2].replace("-" * 22, "").strip().splitlines()
        reason = next((line for line in lines if "Error" in line and not line.startswith(" ")), str(error))
        return UsageError(f"SLURM job {job.job_id} cannot work: {reason}")
    return said.result if isinstance(said, Finished) else UsageError(said.reason)


def claim_folder(store: Store, kind: str) -> tuple[Path, Lease]:
    """A folder for a run's jobs, and the lease that says that the run lives.

    What a dead run left there is taken out, of the queue too: its jobs would only get in the way.

    Raises:
        StoreError: it cannot be made.
    """
    room, name = store.folder / "slurm", f"{kind}-{uuid4().hex}"
    try:
        for old in room.glob("*-*"):
            if lease := store.leases.take(old.name):
                numbers = [path.name.removesuffix("_submitted.pkl") for path in old.glob("*_submitted.pkl")]
                if numbers and old.name.startswith("slurm"):  # numbers of processes are soon another's
                    scancel(numbers)
                shutil.rmtree(old, ignore_errors=True)
                lease.release()
        held = store.leases.take(name)
        assert held is not None  # nobody else has the name
        (room / name).mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"cannot write {room / name}: {error.strerror}") from None
    return room / name, held
