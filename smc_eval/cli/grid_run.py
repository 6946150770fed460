"""Grid run: the cells of a run configuration, from their chains to their records."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from smc_eval import __version__
from smc_eval.engine.distributed import launch
from smc_eval.engine.executors.select import executor_for
from smc_eval.engine.finished_run import finished_run
from smc_eval.engine.progress import Watcher
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.stop_signals import STOP_SIGNALS
from smc_eval.errors import StoreError
from smc_eval.experiment.cell import Chain
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.parsing import parse_named
from smc_eval.experiment.spec_text import parse_trackers
from smc_eval.planning.forecast import Forecast
from smc_eval.planning.resolve import ResolvedCell, unresolved_lines
from smc_eval.registry import registry
from smc_eval.reporting.export import check_writable
from smc_eval.spec import digest
from smc_eval.store.layout import check_layout
from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.trackers.tracker import Tracker

GRID_SCHEMA = 2
"""Version of a store's `grid.json`."""

MACHINE_FLAGS = frozenset(
    {
        "checkpoint_every",
        "device",
        "executor",
        "format",
        "jobs",
        "json_file",
        "output",
        "quiet",
        "shard",
        "threads",
        "track",
    }
)
"""Flags that each machine sets for itself, like its data folder. All others belong to the grid."""


def run_resolved(
    resolved: Sequence[ResolvedCell],
    config: RunConfig,
    watcher: Watcher,
    ahead: Sequence[Chain] = (),
    **options: bool,
) -> list[Record]:
    """Run cells. Returns their records in the same order, with those of cells that cannot run.

    Args:
        resolved: the cells.
        config: the flags.
        watcher: sees the progress.
        ahead: chains that later rounds may run; the nets that they would share stay in the store.
        options: `alone`, `isolated` and `retry` of `RunOptions`.
    """
    chains = [cell.chain for cell in resolved if cell.chain]
    for line in unresolved_lines(resolved):
        watcher.note(line)
    records = iter(_run(chains, config, watcher, ahead, options) if chains else ())
    found = [next(records) if cell.chain else cell.record for cell in resolved]
    return [  # a record of the store was made with other models named
        replace(record, refused_models=cell.cell.refused_models)
        for cell, record in zip(resolved, found, strict=True)
    ]


def _run(
    chains: Sequence[Chain],
    config: RunConfig,
    watcher: Watcher,
    ahead: Sequence[Chain],
    options: Mapping[str, bool],
) -> list[Record]:
    """Run chains as the flags say."""
    run_options = RunOptions(
        Path(config.output),
        device=config.device,
        threads=threads(chains, config),
        tiny=tiny(chains),
        jobs=config.jobs,
        keep=config.keep,
        executor=config.executor,
        shard=config.shard,
        checkpoint_seconds=config.checkpoint_every,
        ahead=ahead,
        trackers=trackers(config),
        group=grid_name(config),
        watcher=watcher,
        **options,
    )
    with STOP_SIGNALS.handled():
        store = Store(run_options.folder)
        if records := finished_run(chains, store, run_options):
            return records
        from smc_eval.engine.runner import run_cells  # imports torch

        return run_cells(chains, run_options, store)


def forecast_of(resolved: Sequence[ResolvedCell], config: RunConfig) -> Forecast | None:
    """The forecast of the cells that can run, by the nets and records of the store; None if none is shown."""
    if config.quiet or launch.rank() > 0:
        return None
    store = Store(Path(config.output))
    chains = [cell.chain for cell in resolved if cell.chain]
    return Forecast(chains, store.nets().__contains__, store.records.latest().values())


def save_grid(config: RunConfig, resolved: Sequence[ResolvedCell]) -> None:
    """Save the grid in the store, so that workers can join."""
    flags = config.model_dump(mode="json", by_alias=True, include=config.model_fields_set - MACHINE_FLAGS)
    if config.data_dir not in {"hub", "synthetic"}:
        flags["data_dir"] = str(Path(config.data_dir).absolute())
    cells = {cell.chain.digest: cell.cell.label for cell in resolved if cell.chain}
    store = Store(Path(config.output))
    store.open()
    store.save_grid({"schema": GRID_SCHEMA, "release": __version__, "config": flags, "cells": cells})


def threads(chains: Sequence[Chain], config: RunConfig) -> int | None:
    """CPU threads of a job; None leaves the number to torch."""
    return config.threads or (1 if tiny(chains) else None)


def tiny(chains: Sequence[Chain]) -> bool:
    """Whether all nets are tiny."""
    return all(chain.cell.task.backbone == "tiny" for chain in chains)


def trackers(config: RunConfig) -> tuple[Tracker, ...]:
    """The trackers of `--track`.

    Raises:
        UsageError: one does not exist, has no such option, or cannot work on this machine.
    """
    if not config.track:
        return ()
    return parse_trackers(parse_named(config.track, "tracker"), registry().trackers)


def grid_name(config: RunConfig) -> str:
    """A name of the grid for trackers, the same for all who work on it: of the store and of the flags."""
    flags = config.model_dump(mode="json", exclude={*MACHINE_FLAGS, "data_dir"})  # a machine may have its own
    return f"{Path(config.output).absolute().name}-{digest(flags)[:8]}"


def check_outputs(config: RunConfig) -> None:
    """Check, before anything runs, that the outputs can be written, and executor and trackers exist.

    Raises:
        UsageError: the file of `--json` cannot be written, or `--executor` or `--track` is wrong.
        StoreError: the store cannot be written, or another release wrote it.
    """
    executor_for(config.executor)
    trackers(config)
    if config.json_file and config.json_file != "-":
        check_writable(Path(config.json_file))
    check_store(Path(config.output))


def check_store(folder: Path) -> None:
    """Check that a store can be written, and is of this release. No folder is made.

    Raises:
        StoreError: it cannot be written, or another release wrote it.
    """
    check_layout(folder)
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(folder)) as file:
            file.write(bytes(4096))  # a full disk takes an empty file
            file.flush()
    except OSError as error:
        raise StoreError(
            f"cannot write to --output {str(folder)!r}: {error.strerror}; choose another folder"
        ) from None


def nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest of its parents that exists. A refused run leaves no new folder."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
