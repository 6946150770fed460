"""Many cells, one after the other or many at once; what fails fails alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from smc_eval.engine.cell_run import CellRun
from smc_eval.engine.device import Device, accelerators
from smc_eval.engine.distributed import launch
from smc_eval.engine.distributed.joint import rank_zero_store
from smc_eval.engine.distributed.shardable import refuse_unshardable
from smc_eval.engine.executors.attempt import attempt
from smc_eval.engine.executors.dispatcher import Dispatcher
from smc_eval.engine.executors.jobs import WorkerSettings
from smc_eval.engine.executors.select import executor_for
from smc_eval.engine.progress import Silent, Watcher
from smc_eval.errors import UsageError
from smc_eval.experiment.cell import Chain, shared_nets, unneeded_nets
from smc_eval.store.records import Result
from smc_eval.store.store import Store

Keep = Literal["nets", "masks", "results"]
"""What stays in a store: nets where chains fork; each cell's masks; neither."""


def run_cells(  # noqa: PLR0913  an order's own
    chains: Sequence[Chain],
    folder: Path,
    *,
    ahead: Sequence[Chain] = (),
    device: str = "auto",
    threads: int | None = None,
    watcher: Watcher,
    jobs: int | None = None,
    keep: Keep = "nets",
    executor: str = "local",
    alone: bool = True,
    again: bool = True,
    shard: bool = False,
) -> list[Result]:
    """Results of all chains, in order; finished ones are read, the others run.

    `ahead` are chains that may be asked for later: the nets they would share stay in the store.

    With several jobs, as many worker processes carry out cells at once; without a number, one for
    each accelerator. One job alone goes in the grid's order, in this process; who is not `alone` leaves
    to others what they are at. Another `executor` carries them out elsewhere. `again` runs once more
    what failed before. Ranks that a launcher started carry out each cell together; where they `shard`,
    each holds rows of the net alone.

    Raises:
        UsageError: the device is not there, or the executor is not, or ranks are asked for what they
            cannot do.
        StoreError: the store cannot be written at all.
        RankLost: another rank has ended.
    """
    make = executor_for(executor)
    store, world = Store(folder), None
    if shard:
        _accept_shards([*chains, *ahead])
    if launch.world_size() > 1:
        _refuse_several(jobs, executor, alone=alone)
        world = Device(device, threads, shard=shard)
        store, watcher = _joined(chains, store, world, watcher)
    store.open()
    shares = accelerators(device) if executor == "local" else []
    watcher.begin(len(chains))
    store.book.latest()
    if store.book.broken:
        watcher.note(
            f"{store.book.broken} broken records in {store.book.path} are passed over; "
            "a cell that has no other runs again",
            warning=True,
        )
    kept = shared_nets([*chains, *ahead])
    _tidy(chains, store, kept)
    if executor == "local" and alone and (jobs or max(1, len(shares))) == 1:
        return _inline(chains, ahead, store, world or Device(device, threads), watcher, keep)
    settings = WorkerSettings(
        folder.absolute(), device, threads, kept, masks=keep == "masks", devices=tuple(shares)
    )
    carrier = make(settings, jobs)
    try:
        dispatcher = Dispatcher(chains, store, carrier, watcher, bounded=keep != "nets", ahead=ahead)
        return dispatcher.run(again=again)
    finally:
        carrier.shutdown()


def _accept_shards(chains: Sequence[Chain]) -> None:
    """Refuse what ranks that hold rows alone cannot carry out, before anything runs.

    Raises:
        UsageError: there is one rank, a cell needs whole tensors, or this torch cannot cut a net.
    """
    launch.refuse_without_ranks("--shard")
    refuse_unshardable(chains)
    from smc_eval.engine.distributed import shards  # FSDP takes seconds to import

    shards.check_torch()


def _refuse_several(jobs: int | None, executor: str, *, alone: bool) -> None:
    """Refuse, of ranks, what carries out several cells at once.

    Raises:
        UsageError: that was asked.
    """
    if jobs not in {None, 1}:
        launch.refuse_with_ranks(f"--jobs {jobs}")
    if executor != "local":
        launch.refuse_with_ranks(f"--executor {executor}")
    if not alone:
        launch.refuse_with_ranks("work")


def _joined(chains: Sequence[Chain], store: Store, world: Device, watcher: Watcher) -> tuple[Store, Watcher]:
    """Store and watcher as ranks have them: the first reads, writes and speaks.

    Raises:
        UsageError: ranks do not mean the same cells.
    """
    ranks = world.ranks
    meant = ranks.gather([chain.digest for chain in chains])
    if differing := [rank for rank, other in enumerate(meant) if other != meant[0]]:
        raise UsageError(
            f"rank {differing[0]} means other cells by the same words than rank 0; "
            "use the same data, checkpoints and versions of plugins for all ranks"
        )
    return rank_zero_store(store, ranks), watcher if ranks.rank == 0 else Silent()


def _tidy(chains: Sequence[Chain], store: Store, kept: Collection[str]) -> None:
    """Delete what only finished cells passed by, and a process left that was killed or had stalled."""
    nets, records = store.nets() - set(kept), store.book.latest()
    for chain in chains:
        record = records.get(chain.digest)
        if record and record.status == "ok":
            for digest in nets.intersection(chain.digests()):
                store.drop(digest)


def _inline(
    chains: Sequence[Chain], ahead: Sequence[Chain], store: Store, world: Device, watcher: Watcher, keep: Keep
) -> list[Result]:
    """One cell after the other, in this process."""
    kept = shared_nets([*chains, *ahead])
    results: list[Result] = []
    finished = store.book.latest()
    done = {digest for digest, result in finished.items() if result.status == "ok"}
    for number, chain in enumerate(chains, 1):
        watcher.cell(number, chain.cell.label)
        result = finished.get(chain.digest)
        if result is None or result.status != "ok":
            result = attempt(CellRun(chain, store, world, watcher, kept, masks=keep == "masks"))
            assert result is not None
            if keep != "nets":
                done |= {chain.digest} if result.status == "ok" else set()
                for net in unneeded_nets([*chains, *ahead], kept, done):
                    store.forget(net)
        watcher.result(result)
        results.append(result)
    return results
