"""A run whose cells are all done: it needs no device, no worker and no torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future

from smc_eval.engine.distributed import launch
from smc_eval.engine.executors.dispatcher import Dispatcher
from smc_eval.engine.executors.jobs import Job, Progress
from smc_eval.engine.progress import Watcher
from smc_eval.engine.run_options import RunOptions
from smc_eval.experiment.cell import Chain
from smc_eval.store.record import Record
from smc_eval.store.store import Store


def finished_run(chains: Sequence[Chain], store: Store, options: RunOptions) -> list[Record] | None:
    """The records of all chains, in order; None, and nothing has happened, if a cell is left to run.

    Ranks, shards and trackers want a run of their own, even if nothing is left.

    Raises:
        StoreError: the store cannot be read or written.
    """
    if launch.world_size() > 1 or options.shard or options.trackers:
        return None
    records = store.records.latest()
    found = [records.get(chain.digest) for chain in chains]
    if not all(record and record.status == "ok" for record in found):
        return None
    store.open()
    options.watcher.begin(len(chains))
    warn_of_broken_records(store, options.watcher)
    drop_left_nets(chains, store, options.kept_nets(chains))
    return Dispatcher(chains, store, NoExecutor(), options).run()


class NoExecutor:
    """Runs nothing: the dispatcher settles every cell from its record."""

    slots = 0

    def submit(self, job: Job, report: Callable[[Progress], None]) -> Future[Record | None]:
        raise AssertionError(f"{job.chain.cell.label} is not done")

    def shutdown(self) -> None:
        """Nothing runs."""


def warn_of_broken_records(store: Store, watcher: Watcher) -> None:
    """Tell of lines of the records file that were skipped."""
    store.records.latest()
    if store.records.faults:
        watcher.note(f"{store.records.warning}; their cells run again", warning=True)


def drop_left_nets(chains: Sequence[Chain], store: Store, shared: Collection[str]) -> None:
    """Delete the nets of finished cells that a killed or stalled process left, unless cells share them."""
    nets, records = store.nets() - set(shared), store.records.latest()
    for chain in chains:
        record = records.get(chain.digest)
        if record and record.status == "ok":
            for digest in nets.intersection(chain.digests()):
                store.drop(digest)
