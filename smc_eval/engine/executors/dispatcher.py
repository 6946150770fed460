"""Dispatcher: gives cells to an executor, the one with the longest remaining chain first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from queue import Empty, SimpleQueue

from smc_eval.engine.executors.jobs import Executor, Job, Progress, WorkerDied
from smc_eval.engine.progress import Watcher
from smc_eval.engine.run_options import RunOptions
from smc_eval.errors import StoreError
from smc_eval.experiment.cell import Chain, unneeded_nets
from smc_eval.planning.plan import seen_rates
from smc_eval.planning.scheduler import Scheduler
from smc_eval.store.record import Record, blank_record, failed_record
from smc_eval.store.store import Store

POLL_SECONDS = 1.0
"""Seconds between two looks at the records of other processes."""
Event = tuple[int, Progress | Future[Record | None]]
"""An event in a lane: progress, or the end of its cell."""


class Dispatcher:
    """One run of many cells: the waiting ones, the running ones by lane, and the records of the others.

    Any number of dispatchers may work on one store. None takes a cell that another has begun.
    """

    def __init__(
        self, chains: Sequence[Chain], store: Store, executor: Executor, options: RunOptions
    ) -> None:
        self.chains, self.store, self.executor, self.options = chains, store, executor, options
        self.watcher, self.known = options.watcher, [*chains, *options.ahead]
        self.shared = options.kept_nets(chains)
        self.number = {chain.digest: number for number, chain in enumerate(chains, 1)}
        self.waiting = {chain.digest: chain for chain in chains}
        self.taken: dict[str, Job] = {}
        """Jobs whose cell another process had; it may still give the cell up."""
        self.lanes: dict[int, Job] = {}
        self.results: dict[str, Record] = {}
        self.before: dict[str, Record] = {}
        """Failed records that existed before the run."""
        self.events = SimpleQueue[Event]()

    def run(self) -> list[Record]:
        """The records of all cells, in order.

        Raises:
            StoreGone: the store's folder has vanished.
        """
        records = self.store.records.latest()
        self.scheduler = Scheduler(seen_rates(records.values()))
        self.before = {d: r for d, r in records.items() if r.status != "ok"} if self.options.retry else {}
        while True:
            self._settle_recorded()
            if not self.waiting and not self.lanes:
                return [self.results[chain.digest] for chain in self.chains]
            self._start_cells()
            self._wait_for_event()

    def _settle_recorded(self) -> None:
        """Settle every cell that has a record by now, from this process or another."""
        records, settled = self.store.records.latest(), False
        for digest, chain in list(self.waiting.items()):
            record = records.get(digest)
            if record and (record.status == "ok" or record is not self.before.get(digest)):
                lane = self.watcher.lane(self._free_lane())
                lane.cell(self.number[digest], chain.cell.label)
                self._take(lane, digest, record)
                settled = True
        if settled:
            self._forget_unneeded()

    def _start_cells(self) -> None:
        """Start a cell in each free slot, while cells are ready."""
        while self.waiting and len(self.lanes) < self.executor.slots:
            leased = self.store.leases.active()
            ours = [job.chain for job in self.lanes.values()]
            theirs = [chain for digest, chain in self.waiting.items() if digest in leased]
            chain = self.scheduler.next(self.waiting.values(), [*ours, *theirs], self.store.nets(), leased)
            if chain is None:
                return
            del self.waiting[chain.digest]
            lane = self._free_lane()
            self.watcher.lane(lane).cell(self.number[chain.digest], chain.cell.label)
            fresh = Job(chain, records_read=self.store.records.bytes_read)
            self._submit(lane, self.taken.pop(chain.digest, fresh))

    def _free_lane(self) -> int:
        return next(lane for lane in range(len(self.lanes) + 1) if lane not in self.lanes)

    def _submit(self, lane: int, job: Job) -> None:
        self.lanes[lane] = job
        future = self.executor.submit(job, lambda progress: self.events.put((lane, progress)))
        future.add_done_callback(lambda done: self.events.put((lane, done)))

    def _wait_for_event(self) -> None:
        """Pass on progress, until a cell ends or it is time to look at the store."""
        due = time.monotonic() + POLL_SECONDS
        while (left := due - time.monotonic()) > 0:
            try:
                lane, event = self.events.get(timeout=left)
            except Empty:
                return
            if isinstance(event, Progress):
                getattr(self.watcher.lane(lane), event.method)(*event.args, **event.kwargs)
            else:
                self._end(lane, event)
                return

    def _end(self, lane: int, future: Future[Record | None]) -> None:
        job = self.lanes.pop(lane)
        digest = job.chain.digest
        try:
            record = future.result()
        except WorkerDied as death:
            self._retry_or_fail(lane, job, death)
            return
        if record is None:  # another process works on it, or died and its lease has not run out
            self.waiting[digest], self.taken[digest] = job.chain, job
        else:
            self._settle(self.watcher.lane(lane), digest, record)

    def _retry_or_fail(self, lane: int, job: Job, death: WorkerDied) -> None:
        """Run the cell once more after a kill; in smaller parts, if memory was the cause."""
        if death.killed and not job.retried:
            parts = 2 * job.parts if death.memory else job.parts
            how = " with forward passes of half the size" if death.memory else ""
            self.watcher.lane(lane).note(f"{death}; trying again{how}", warning=True)
            self._submit(lane, replace(job, parts=parts, retried=True))
            return
        log = self.store.log(job.chain.digest)
        record = failed_record(blank_record(job.chain.cell, job.chain), f"{death}\nits output is in {log}")
        self.store.check()
        try:
            self.store.records.add(record)
        except StoreError as error:
            self.watcher.note(str(error), warning=True)
        self._settle(self.watcher.lane(lane), job.chain.digest, record)

    def _settle(self, lane: Watcher, digest: str, record: Record) -> None:
        self._take(lane, digest, record)
        if new := {
            task: rate for task, rate in seen_rates([record]).items() if task not in self.scheduler.rates
        }:
            self.scheduler = Scheduler({**self.scheduler.rates, **new})
        self._forget_unneeded()

    def _take(self, lane: Watcher, digest: str, record: Record) -> None:
        self.waiting.pop(digest, None)
        self.results[digest] = record
        lane.result(record)

    def _forget_unneeded(self) -> None:
        """Delete the nets that only cells that are done have needed."""
        if self.options.keep != "nets":
            done = {digest for digest, record in self.results.items() if record.status == "ok"}
            for net in unneeded_nets(self.known, self.shared, done) - self.options.final_nets(self.chains):
                self.store.forget(net)
