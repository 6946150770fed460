"""The verb `run`: from a run configuration to a table."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from smc_eval import __version__
from smc_eval.cli.notices import print_notices
from smc_eval.cli.search_table import bisection_of, outcome_line, print_searches
from smc_eval.engine.distributed import launch
from smc_eval.errors import StoreError
from smc_eval.experiment.cell import Chain
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.planning.resolve import ResolvedCell, Resolver, unresolved_lines
from smc_eval.planning.sparsity_search import SparsitySearch, run_rounds, searches
from smc_eval.registry import registry
from smc_eval.reporting.export import check_writable, write_text
from smc_eval.reporting.printable import printable_lines
from smc_eval.reporting.summary import Summaries
from smc_eval.reporting.table import Table, table_of
from smc_eval.store.layout import check_layout
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record, same_data

GRID_SCHEMA = 2
"""Version of a store's `grid.json`."""

ISOLATED = True
"""Whether cells run in a worker process even if one runs at a time, so that a crash costs one cell alone."""

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
    }
)
"""Flags that each machine sets for itself, like its data folder. All others belong to the grid."""


def run(config: RunConfig) -> None:
    """Train, prune and score unfinished cells; print the table.

    Finished cells come from the store, so the same command continues an interrupted run.
    """
    grid = Grid.of(config, registry())
    sparsity_searches = searches(grid, bisection_of(config)) if config.find else []
    first = launch.rank() == 0  # of several ranks, only rank 0 writes
    if first:
        check_outputs(config)
    print_notices(config, grid)
    if sparsity_searches:
        records = run_searches(sparsity_searches, grid, config)
    else:
        resolved = Resolver().resolve_all(grid.cells())
        if first:
            save_grid(config, resolved)
        records = run_resolved(resolved, config)
        if first:
            print_results(results_table(records, config), config)
    if any(record.status == "failed" for record in records):
        raise typer.Exit(1)


def run_searches(sparsity_searches: Sequence[SparsitySearch], grid: Grid, config: RunConfig) -> list[Record]:
    """Run sparsity searches round by round, and print their results. Returns the records of all cells."""
    records, states = list[Record](), list(sparsity_searches)
    rounds = run_rounds(
        grid, sparsity_searches, lambda resolved, ahead: run_resolved(resolved, config, ahead)
    )
    for new_states, new_records in rounds:
        for before, after in zip(states, new_states, strict=True):
            if after != before and not config.quiet:
                typer.echo(printable_lines(outcome_line(after)), err=True)
        records, states = [*records, *new_records], new_states
    if launch.rank() == 0:
        print_searches(states, records, config)
    return records


def run_resolved(
    resolved: Sequence[ResolvedCell], config: RunConfig, ahead: Sequence[Chain] = (), **options: bool
) -> list[Record]:
    """Run cells. Returns their records in the same order, with those of cells that cannot run.

    Args:
        resolved: the cells.
        config: the flags.
        ahead: chains that later rounds may run; the nets that they would share stay in the store.
        options: `alone` and `retry` of `RunOptions`.
    """
    from rich.console import Console

    from smc_eval.cli.progress import progress_on

    chains = [cell.chain for cell in resolved if cell.chain]
    with progress_on(Console(stderr=True), config.quiet) as watcher:
        for line in unresolved_lines(resolved):
            watcher.note(line)
        if chains:
            from smc_eval.engine.run_options import RunOptions
            from smc_eval.engine.runner import run_cells
            from smc_eval.engine.stop_signals import STOP_SIGNALS

            run_options = RunOptions(
                Path(config.output),
                device=config.device,
                threads=threads(chains, config),
                jobs=config.jobs,
                keep=config.keep,
                executor=config.executor,
                isolated=ISOLATED,
                shard=config.shard,
                checkpoint_seconds=config.checkpoint_every,
                ahead=ahead,
                watcher=watcher,
                **options,
            )
            with STOP_SIGNALS.handled():
                records = iter(run_cells(chains, run_options))
        else:
            records = iter(())
    found = [next(records) if cell.chain else cell.record for cell in resolved]
    return [  # a record of the store was made with other models named
        replace(record, refused_models=cell.cell.refused_models)
        for cell, record in zip(resolved, found, strict=True)
    ]


def save_grid(config: RunConfig, resolved: Sequence[ResolvedCell]) -> None:
    """Save the grid in the store, so that workers can join."""
    from smc_eval.store.store import Store

    flags = config.model_dump(mode="json", by_alias=True, include=config.model_fields_set - MACHINE_FLAGS)
    if config.data_dir not in {"hub", "synthetic"}:
        flags["data_dir"] = str(Path(config.data_dir).absolute())
    cells = {cell.chain.digest: cell.cell.label for cell in resolved if cell.chain}
    store = Store(Path(config.output))
    store.open()
    store.save_grid({"schema": GRID_SCHEMA, "release": __version__, "config": flags, "cells": cells})


def threads(chains: Sequence[Chain], config: RunConfig) -> int | None:
    """CPU threads of a job; None leaves the number to torch."""
    tiny = all(chain.cell.task.backbone == "tiny" for chain in chains)
    return config.threads or (1 if tiny else None)


def results_table(records: Sequence[Record], config: RunConfig) -> Table:
    """The table of a run, with intervals from the predictions in its store."""
    return table_of(same_data(records), items_in([Path(config.output)]))


def print_results(table: Table, config: RunConfig, summaries: Summaries | None = None) -> None:
    """Print a table, and summaries if there are any, to the standard output and to the file of `--json`."""
    from smc_eval.reporting import terminal

    if config.json_file == "-":
        typer.echo(terminal.render_table(table, "json", summaries), nl=False)
        return
    if config.format == "table":
        from rich.console import Console

        terminal.print_table(table, Console(), summaries)
    else:
        typer.echo(terminal.render_table(table, config.format, summaries), nl=False)
    if config.json_file:  # last: a full disk must not hide the table
        write_text(Path(config.json_file), terminal.render_table(table, "json", summaries))


def check_outputs(config: RunConfig) -> None:
    """Check, before anything runs, that the outputs can be written and the executor exists.

    Raises:
        UsageError: the file of `--json` cannot be written, or the value of `--executor` is wrong.
        StoreError: the store cannot be written, or another release wrote it.
    """
    from smc_eval.engine.executors.select import executor_for

    executor_for(config.executor)
    if config.json_file and config.json_file != "-":
        check_writable(Path(config.json_file))
    output = Path(config.output)
    check_layout(output)
    try:
        with tempfile.TemporaryFile(dir=_nearest_folder(output)):
            pass
    except OSError as error:
        raise StoreError(
            f"cannot write to --output {config.output!r}: {error.strerror}; choose another folder"
        ) from None


def _nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest of its parents that exists. A refused run leaves no new folder."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
