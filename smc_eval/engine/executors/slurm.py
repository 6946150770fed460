"""SLURM executor: cells as SLURM jobs, submitted through submitit in arrays."""

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
from smc_eval.engine.executors.worker import run_job
from smc_eval.engine.progress import Silent
from smc_eval.errors import SmcError, StoreError, UsageError
from smc_eval.files.lease import Lease
from smc_eval.store.record import Record
from smc_eval.store.store import Store

SLOTS = 64
"""Jobs in the queue or running, if `--jobs` is not given."""
ARRAY = 1000
"""Jobs of one array: SLURM's own default limit."""
REQUEUES = 10_000
"""Times that a job may reach its time limit and continue. With its checkpoints in the store, it advances."""
RESULT_SECONDS = 1.0
"""Seconds between two looks for results."""
QUEUE_SECONDS = 15.0
"""Seconds between two queries of SLURM."""
GRACE_SECONDS = 30.0
"""Seconds until a shared folder shows the files that a job wrote before it ended."""
RETRY_SECONDS = 60.0
"""Seconds until jobs that SLURM did not accept are submitted again."""


@dataclass(frozen=True)
class CellTask:
    """A cell, in the form that submitit sends to a job, and again after a time-out or a preemption."""

    job: Job
    settings: WorkerSettings

    def __call__(self) -> Finished | CannotWork:
        return run_job(self.job, self.settings, Silent())

    def checkpoint(self) -> Any:
        """The task of a requeued job: the same one, which continues from the checkpoint in the store."""
        return submitit.helpers.DelayedSubmission(self)


@dataclass
class Submission:
    """A cell that was given to SLURM, and its state there."""

    task: CellTask
    report: Callable[[Progress], None]
    future: Future[Record | None]
    local: bool = False
    """Whether submitit's stand-in for SLURM runs it on this machine."""
    job: Any = None
    """submitit's, once SLURM has it."""
    state: str = ""
    ended: float | None = None
    """Time at which it was first seen to have ended, by `time.monotonic`."""

    def set_state(self, state: str) -> None:
        """Set the state of the job, and report a change."""
        if state != self.state:
            self.state = state
            where = "local" if self.local else "SLURM"
            label = f"{where} job {self.job.job_id} is {state.lower()}"
            self.report(Progress("stage", (label, 1, 0), {}))


class Slurm:
    """Jobs on a SLURM cluster, in as few arrays as possible. All nodes need the store's folder.

    One thread submits new jobs and finds those that have ended. A job reports no progress before its
    end; its output is in the cell's log.
    """

    def __init__(self, settings: WorkerSettings, jobs: int | None, *, sbatch: SbatchOptions) -> None:
        """Claim a folder for the jobs, and start the thread.

        Raises:
            UsageError: there is no SLURM.
            StoreError: the folder cannot be made.
        """
        if not sbatch.local and not shutil.which("sbatch"):
            raise UsageError("--executor slurm: there is no sbatch here; start where jobs are submitted")
        self.sbatch = sbatch.with_threads(settings.threads)
        self.settings = replace(settings, threads=self.sbatch.threads)
        self.slots = jobs or (1 if sbatch.local else SLOTS)
        self.store = Store(settings.folder)
        self.folder, self._lease = claim_folder(self.store, "local" if sbatch.local else "slurm")
        self._executor = self.sbatch.executor(self.folder, self.slots, REQUEUES)
        self._new = SimpleQueue[Submission]()
        self._waiting, self._sent = list[Submission](), list[Submission]()
        self._accepted, self._retry_at, self._queried_at = False, 0.0, 0.0
        self._over = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._watch, name="slurm")
        self._thread.start()

    def submit(self, job: Job, report: Callable[[Progress], None]) -> Future[Record | None]:
        submission = Submission(CellTask(job, self.settings), report, Future(), local=self.sbatch.local)
        if self._fault:
            raise self._fault
        self._new.put(submission)
        return submission.future

    def shutdown(self) -> None:
        self._over.set()
        self._thread.join()
        cancel([sent.job for sent in self._sent], local=self.sbatch.local)
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # another run has its jobs there
            self.folder.parent.rmdir()
        self._lease.release()

    def _watch(self) -> None:
        """Submit jobs and look for results until the end; an error here fails all jobs."""
        if not self.sbatch.local:
            block_sigint()  # else Ctrl-C could end sbatch after SLURM took the job, and its number is unknown
        try:
            while not self._over.wait(RESULT_SECONDS):
                with suppress(Empty):
                    while True:
                        self._waiting.append(self._new.get_nowait())
                if self._waiting and time.monotonic() >= self._retry_at:
                    self._send()
                self._collect_results()
                self._query_states()
        except Exception as error:
            self._fault = error
            while not self._new.empty():
                self._waiting.append(self._new.get())
            for sent in [*self._waiting, *self._sent]:
                sent.future.set_exception(error)

    def _send(self) -> None:
        """Submit as many jobs as one array holds.

        Raises:
            UsageError: SLURM does not accept the very first ones.
        """
        now = self._waiting[:ARRAY]
        try:
            jobs = self._executor.submit_array([sent.task for sent in now])
        except (RuntimeError, OSError) as error:  # submitit's own are RuntimeErrors
            reason = str(error).strip() or type(error).__name__
            if not self._accepted:
                raise UsageError(f"SLURM does not accept the jobs: {reason}") from None
            self._retry_at = time.monotonic() + RETRY_SECONDS
            note = f"SLURM accepts no more jobs now; trying again in {RETRY_SECONDS:g} s: {reason}"
            now[0].report(Progress("note", (note,), {"warning": True}))
            return
        self._accepted = True
        for sent, job in zip(now, jobs, strict=True):
            sent.job = job
            sent.set_state("PENDING")
        self._waiting, self._sent = self._waiting[ARRAY:], [*self._sent, *now]

    def _collect_results(self) -> None:
        """Settle the jobs that left a result."""
        try:
            written = {path.name for path in self.folder.iterdir()}  # asks the file server, not a cache
        except OSError:
            self.store.check()
            raise
        for sent in list(self._sent):
            if sent.job.paths.result_pickle.name in written:
                self._settle(sent, outcome(sent.job))

    def _query_states(self) -> None:
        """Get the states of the jobs, and settle those that ended a while ago and left no result."""
        now, (pause, grace) = (
            time.monotonic(),
            (0.0, RESULT_SECONDS) if self.sbatch.local else (QUEUE_SECONDS, GRACE_SECONDS),
        )
        if not self._sent or now < self._queried_at + pause:
            return
        self._queried_at = now
        states = job_states([sent.job for sent in self._sent], local=self.sbatch.local)
        if states is None:  # SLURM does not answer
            return
        for sent in list(self._sent):
            state = states.get(sent.job.job_id, "GONE")
            sent.set_state(state)
            sent.ended = None if state in LIVE else sent.ended or now
            if sent.ended is not None and now - sent.ended >= grace:
                self._settle(sent, self._death(sent))

    def _death(self, sent: Submission) -> WorkerDied | None:
        """The error of a job that left no result; None for a preempted one, which is submitted again."""
        if sent.state == "PREEMPTED":
            return None
        with suppress(OSError, StoreError):  # its output before the cell's own log was open
            output = sent.job.paths.stderr.read_text(encoding="utf-8", errors="replace")
            self.store.log(sent.task.job.chain.digest, output)
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
    """The record of a job, or the error that kept it from work."""
    try:
        result: Finished | CannotWork = job.result()
    except submitit.core.utils.UncompletedJobError as error:  # it could not even begin
        lines = str(error).partition("trace:")[2].replace("-" * 22, "").strip().splitlines()
        reason = next((line for line in lines if "Error" in line and not line.startswith(" ")), str(error))
        return UsageError(f"SLURM job {job.job_id} cannot work: {reason}")
    return result.record if isinstance(result, Finished) else UsageError(result.reason)


def claim_folder(store: Store, kind: str) -> tuple[Path, Lease]:
    """A folder for the jobs of a run, and the lease that the run holds on it.

    The folders of dead runs are deleted, and their jobs cancelled, because they would hold up this run.

    Raises:
        StoreError: the folder cannot be made.
    """
    parent, name = store.folder / "slurm", f"{kind}-{uuid4().hex}"
    try:
        for old in parent.glob("*-*"):
            if lease := store.leases.take(old.name):
                numbers = [path.name.removesuffix("_submitted.pkl") for path in old.glob("*_submitted.pkl")]
                if numbers and old.name.startswith("slurm"):  # numbers of local processes are soon reused
                    scancel(numbers)
                shutil.rmtree(old, ignore_errors=True)
                lease.release()
        lease = store.leases.take(name)
        assert lease is not None  # the name is unique
        (parent / name).mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"cannot write {parent / name}: {error.strerror}") from None
    return parent / name, lease
