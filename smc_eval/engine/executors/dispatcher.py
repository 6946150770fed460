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
from smc_eval.experiment.cell import Chain, shared_nets, unneeded_nets
from smc_eval.planning.plan import seen_rates
from smc_eval.planning.scheduler import Scheduler
from smc_eval.store.record import Record, blank_record, failed_record
from smc_eval.store.store import Store

POLL_SECONDS = 1.0
"""Seconds between two looks at what other processes did."""
Event = tuple[int, Progress | Future[Record | None]]
"""Something happened in a lane: progress, or the end of its cell."""


class Dispatcher:
    """One run of many cells: which wait, which run in which lane, and the records of the others.

    Any number of dispatchers may work on one store. None takes a cell that another has begun.
    """

    def __init__(
        self, chains: Sequence[Chain], store: Store, executor: Executor, options: RunOptions
    ) -> None:
        self.chains, self.store, self.executor, self.options = chains, store, executor, options
        self.watcher, self.known = options.watcher, [*chains, *options.ahead]
        self.shared = shared_nets(self.known)
        self.place = {chain.digest: number for number, chain in enumerate(chains, 1)}
        self.waiting = {chain.digest: chain for chain in chains}
        self.taken: dict[str, Job] = {}
        """Jobs whose cell another process had; it may still give the cell up."""
        self.lanes: dict[int, Job] = {}
        self.results: dict[str, Record] = {}
        self.before: dict[str, Record] = {}
        """Failed records that were there when the run began."""
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
            self._hand_out()
            self._listen()

    def _settle_recorded(self) -> None:
        """Settle every cell that has a record by now, also of another process."""
        records = self.store.records.latest()
        for digest, chain in list(self.waiting.items()):
            record = records.get(digest)
            if record and (record.status == "ok" or record is not self.before.get(digest)):
                lane = self.watcher.lane(self._free())
                lane.cell(self.place[digest], chain.cell.label)
                self._settle(lane, digest, record)

    def _hand_out(self) -> None:
        """Start a cell in each free slot, while cells are ready."""
        while self.waiting and len(self.lanes) < self.executor.slots:
            held = self.store.leases.living()
            ours = [job.chain for job in self.lanes.values()]
            theirs = [chain for digest, chain in self.waiting.items() if digest in held]
            chain = self.scheduler.next(self.waiting.values(), [*ours, *theirs], self.store.nets(), held)
            if chain is None:
                return
            del self.waiting[chain.digest]
            lane = self._free()
            self.watcher.lane(lane).cell(self.place[chain.digest], chain.cell.label)
            self._submit(lane, self.taken.pop(chain.digest, Job(chain)))

    def _free(self) -> int:
        return next(lane for lane in range(len(self.lanes) + 1) if lane not in self.lanes)

    def _submit(self, lane: int, job: Job) -> None:
        self.lanes[lane] = job
        future = self.executor.submit(job, lambda told: self.events.put((lane, told)))
        future.add_done_callback(lambda done: self.events.put((lane, done)))

    def _listen(self) -> None:
        """Pass on progress, until a cell ends or it is time to look at the store."""
        due = time.monotonic() + POLL_SECONDS
        while (left := due - time.monotonic()) > 0:
            try:
                lane, news = self.events.get(timeout=left)
            except Empty:
                return
            if isinstance(news, Progress):
                getattr(self.watcher.lane(lane), news.verb)(*news.words, **news.more)
            else:
                self._ended(lane, news)
                return

    def _ended(self, lane: int, future: Future[Record | None]) -> None:
        job = self.lanes.pop(lane)
        digest = job.chain.digest
        try:
            result = future.result()
        except WorkerDied as death:
            self._died(lane, job, death)
            return
        if result is None:  # another process has it, or one that died seems to have it still
            self.waiting[digest], self.taken[digest] = job.chain, job
        else:
            self._settle(self.watcher.lane(lane), digest, result)

    def _died(self, lane: int, job: Job, death: WorkerDied) -> None:
        """Run the cell once more after a kill; in smaller parts, if memory was the cause."""
        if death.killed and not job.again:
            parts = 2 * job.parts if death.memory else job.parts
            how = " with forward passes of half the size" if death.memory else ""
            self.watcher.lane(lane).note(f"{death}; once more{how}", warning=True)
            self._submit(lane, replace(job, parts=parts, again=True))
            return
        log = self.store.log(job.chain.digest)
        result = failed_record(blank_record(job.chain.cell, job.chain), f"{death}\nwhat it said is in {log}")
        self.store.check()
        try:
            self.store.records.add(result)
        except StoreError as error:
            self.watcher.note(str(error), warning=True)
        self._settle(self.watcher.lane(lane), job.chain.digest, result)

    def _settle(self, lane: Watcher, digest: str, result: Record) -> None:
        self.waiting.pop(digest, None)
        self.results[digest] = result
        lane.result(result)
        if self.options.keep != "nets" and result.status == "ok":
            done = {digest for digest, result in self.results.items() if result.status == "ok"}
            for net in unneeded_nets(self.known, self.shared, done):
                self.store.forget(net)
