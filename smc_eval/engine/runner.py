"""Runner: many cells, one after the other or several at once. A cell that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from smc_eval.engine.cell_run import CellOptions, CellRun
from smc_eval.engine.cores import usable_cores
from smc_eval.engine.device import Device, accelerators, is_cpu
from smc_eval.engine.distributed import launch
from smc_eval.engine.distributed.rank_zero_store import RankZeroStore
from smc_eval.engine.distributed.shardable import refuse_unshardable
from smc_eval.engine.executors.attempt import attempt
from smc_eval.engine.executors.dispatcher import Dispatcher
from smc_eval.engine.executors.jobs import Executor, WorkerSettings
from smc_eval.engine.executors.local import Local
from smc_eval.engine.executors.select import Maker, executor_for
from smc_eval.engine.finished_run import drop_left_nets, warn_of_broken_records
from smc_eval.engine.optimizer_state import refuse_unfit_optimizers
from smc_eval.engine.progress import Silent
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.tracking import tracking
from smc_eval.errors import UsageError
from smc_eval.experiment.cell import Chain, unneeded_nets
from smc_eval.store.record import Record
from smc_eval.store.store import Store

TINY_CELLS = 16
"""Cells of tiny nets that are worth a process: it takes seconds to start, and each cell about one."""


def run_cells(chains: Sequence[Chain], options: RunOptions, store: Store | None = None) -> list[Record]:
    """The records of all chains, in order. Finished cells are read from the store, the others run.

    One local job runs the cells in order: in this process, or in a worker process if they are isolated.
    Several jobs run them at once, in worker processes. Ranks that a launcher started run each cell together.
    `store` is that of the options, if its records were read already.

    Raises:
        UsageError: the device or the executor does not exist, ranks cannot run these cells, or the state
            of an optimizer cannot be saved or cleared.
        StoreError: the store cannot be written.
        RankLost: another rank has ended.
    """
    make = executor_for(options.executor)
    store, device = store or Store(options.folder), None
    refuse_unfit_optimizers([*chains, *options.ahead])
    if options.shard:
        _accept_shards([*chains, *options.ahead])
    if launch.world_size() > 1:
        _refuse_several(chains, options)
        device = Device(options.device, options.threads, shard=options.shard)
        store, options = _for_rank(chains, store, device, options)
    store.open()
    with tracking(chains, options) as options:
        return _run_opened(chains, store, device, options, make)


def _run_opened(
    chains: Sequence[Chain], store: Store, device: Device | None, options: RunOptions, make: Maker
) -> list[Record]:
    """Run chains in a store that is open, with the executor that `make` makes or in this process."""
    devices = accelerators(options.device) if options.executor == "local" else []
    options.watcher.begin(len(chains))
    warn_of_broken_records(store, options.watcher)
    shared = options.kept_nets(chains)
    drop_left_nets(chains, store, shared)
    jobs = _jobs(chains, store, options, devices)
    one = options.executor == "local" and options.alone and jobs == 1
    if one and (launch.world_size() > 1 or not options.isolated):
        return _run_in_order(chains, store, device or Device(options.device, options.threads), options)
    settings = WorkerSettings(
        options.folder.absolute(),
        options.device,
        options.threads,
        shared,
        masks=options.keep == "masks",
        checkpoint_seconds=options.checkpoint_seconds,
        devices=tuple(devices),
        measured=bool(options.trackers),
    )
    # one worker takes the threads that this process would take, so that its numbers are the same
    executor: Executor = Local(settings, 1) if one else make(settings, jobs)
    try:
        return Dispatcher(chains, store, executor, options).run()
    finally:
        executor.shutdown()


def _jobs(chains: Sequence[Chain], store: Store, options: RunOptions, devices: Sequence[str]) -> int | None:
    """How many cells run at once; None leaves it to an executor that is not local."""
    if options.jobs or options.executor != "local":
        return options.jobs
    if launch.world_size() > 1:
        return 1  # ranks run each cell together
    if devices or not (options.tiny and options.isolated and options.alone and is_cpu(options.device)):
        return max(1, len(devices))
    records = store.records.latest()
    left = sum(records.get(chain.digest) is None for chain in chains)
    return max(1, min(usable_cores() // (options.threads or 1), left // TINY_CELLS))


def _accept_shards(chains: Sequence[Chain]) -> None:
    """Refuse cells that cannot be sharded, before anything runs.

    Raises:
        UsageError: there is one rank, a cell needs whole tensors, or this torch cannot shard a net.
    """
    launch.refuse_without_ranks("--shard")
    refuse_unshardable(chains)
    from smc_eval.engine.distributed import shards  # FSDP takes seconds to import

    shards.check_torch()


def _refuse_several(chains: Sequence[Chain], options: RunOptions) -> None:
    """Refuse sparse kernels, and options that run several cells at once: ranks run each cell together.

    Raises:
        UsageError: such an option is set.
    """
    if options.jobs not in {None, 1}:
        launch.refuse_with_ranks(f"--jobs {options.jobs}")
    if options.executor != "local":
        launch.refuse_with_ranks(f"--executor {options.executor}")
    if not options.alone:
        launch.refuse_with_ranks("work")
    if any(chain.cell.kernels == "sparse" for chain in chains):
        raise UsageError(
            f"--kernels sparse is for one process, and there are {launch.world_size()} ranks; "
            "leave out the option or the launcher"
        )


def _for_rank(
    chains: Sequence[Chain], store: Store, device: Device, options: RunOptions
) -> tuple[Store, RunOptions]:
    """The store and the options of a rank: only rank 0 reads, writes, shows progress and has trackers.

    Raises:
        UsageError: the ranks have other cells.
    """
    ranks = device.ranks
    digests = ranks.gather([chain.digest for chain in chains])
    if differing := [rank for rank, other in enumerate(digests) if other != digests[0]]:
        raise UsageError(
            f"rank {differing[0]} has other cells than rank 0; "
            "use the same data, checkpoints and versions of plugins on all ranks"
        )
    if ranks.rank > 0:
        options = replace(options, watcher=Silent(), trackers=())
    return RankZeroStore(store, ranks), options


def _run_in_order(chains: Sequence[Chain], store: Store, device: Device, options: RunOptions) -> list[Record]:
    """Run one cell after the other, in this process."""
    known, watcher = [*chains, *options.ahead], options.watcher
    shared = options.kept_nets(chains)
    cell_options = CellOptions(
        shared, masks=options.keep == "masks", checkpoint_seconds=options.checkpoint_seconds
    )
    results: list[Record] = []
    finished = store.records.latest()
    done = {digest for digest, record in finished.items() if record.status == "ok"}
    for number, chain in enumerate(chains, 1):
        watcher.cell(number, chain.cell.label)
        record = finished.get(chain.digest)
        if record is None or record.status != "ok":
            record = attempt(CellRun(chain, store, device, watcher, cell_options))
            assert record is not None
            if options.keep != "nets":
                done |= {chain.digest} if record.status == "ok" else set()
                for net in unneeded_nets(known, shared, done) - options.final_nets(chains):
                    store.forget(net)
        watcher.result(record)
        results.append(record)
    return results
