"""The verb `run`: from a configuration to a table."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer

from smc_eval import __version__
from smc_eval.cli.search_table import bisection_of, print_searches, step
from smc_eval.engine.distributed import launch
from smc_eval.errors import StoreError
from smc_eval.experiment import parsing
from smc_eval.experiment.cell import Chain
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.planning.resolve import ResolvedCell, Resolver, unresolved_lines
from smc_eval.planning.sparsity_search import SparsitySearch, left_out, run_rounds, searches
from smc_eval.registry import registry
from smc_eval.reporting.export import check_writable, write_text
from smc_eval.reporting.summary import Summaries
from smc_eval.reporting.table import Table, table_of
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record, same_data

GRID_SCHEMA = 1
"""Version of what a store tells of the grid that was ordered."""

MACHINE_FLAGS = frozenset(
    {"device", "executor", "format", "jobs", "json_file", "output", "quiet", "shard", "threads"}
)
"""What each machine says for itself, as it does of its data folder; all else is the grid's."""


def run(config: RunConfig) -> None:
    """Train, prune, score: run every cell that is not finished yet, and show the table."""
    grid = Grid.of(config, registry())
    sought = searches(grid, bisection_of(config)) if config.find else []
    first = launch.rank() == 0  # of ranks that carry out the run together, it alone writes
    if first:
        check_outputs(config)
    warn_of_limit(config)
    for note in () if config.quiet else kept_models(config, grid):
        typer.echo(f"note: {note}", err=True)
    if sought:
        results = search_and_show(sought, grid, config)
    else:
        squares = Resolver().resolve_all(grid.cells())
        if first:
            save_grid(config, squares)
        results = run_resolved(squares, config)
        if first:
            print_results(results_table(results, config), config)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


def warn_of_limit(config: RunConfig) -> None:
    """Say loudly what makes results no results."""
    if config.limit:
        typer.secho(
            f"warning: --limit {config.limit} keeps only {config.limit} examples of each part; "
            "these are no results, and every record says so",
            err=True,
            fg="yellow",
            bold=True,
        )


def search_and_show(sought: Sequence[SparsitySearch], grid: Grid, config: RunConfig) -> list[Record]:
    """Search, round by round, and show what was found; the records of all cells it took."""
    for line in () if config.quiet else left_out(grid):
        typer.echo(f"note: {line}, and is not searched", err=True)
    results, stand = list[Record](), list(sought)
    for after, records in run_rounds(
        grid, sought, lambda squares, ahead: run_resolved(squares, config, ahead)
    ):
        for before, now in zip(stand, after, strict=True):
            if now != before and not config.quiet:
                typer.echo(step(now), err=True)
        results, stand = [*results, *records], after
    if launch.rank() == 0:
        print_searches(stand, results, config)
    return results


def run_resolved(
    squares: Sequence[ResolvedCell], config: RunConfig, ahead: Sequence[Chain] = (), **how: bool
) -> list[Record]:
    """The results of all cells in the grid's order, those that could not be bound among them.

    `ahead` are chains that may be asked for later. `how` goes to the runner: whether it works alone,
    and runs again what failed before.
    """
    from rich.console import Console

    from smc_eval.cli.progress import progress_on

    chains = [square.chain for square in squares if square.chain]
    with progress_on(Console(stderr=True), config.quiet) as watcher:
        for line in unresolved_lines(squares):
            watcher.note(line)
        if chains:
            from smc_eval.engine.run_options import RunOptions
            from smc_eval.engine.runner import run_cells

            options = RunOptions(
                Path(config.output),
                device=config.device,
                threads=threads(chains, config),
                jobs=config.jobs,
                keep=config.keep,
                executor=config.executor,
                shard=config.shard,
                ahead=ahead,
                watcher=watcher,
                **how,
            )
            ran = iter(run_cells(chains, options))
        else:
            ran = iter(())
    return [next(ran) if square.chain else square.record for square in squares]


def save_grid(config: RunConfig, squares: Sequence[ResolvedCell]) -> None:
    """Write the order into the store, so that others can join."""
    from smc_eval.store.store import Store

    said = config.model_dump(mode="json", by_alias=True, include=config.model_fields_set - MACHINE_FLAGS)
    if config.data_dir not in {"hub", "synthetic"}:
        said["data_dir"] = str(Path(config.data_dir).absolute())
    cells = {square.chain.digest: square.cell.label for square in squares if square.chain}
    store = Store(Path(config.output))
    store.open()
    store.save_grid({"schema": GRID_SCHEMA, "release": __version__, "order": said, "cells": cells})


def threads(chains: Sequence[Chain], config: RunConfig) -> int | None:
    """CPU threads of a job; None leaves them to the machine."""
    tiny = all(chain.cell.task.backbone == "tiny" for chain in chains)
    return config.threads or (1 if tiny else None)


def kept_models(config: RunConfig, grid: Grid) -> list[str]:
    """Which tasks keep their published model, though another was named."""
    asked = {word for named in parsing.parse_models(config.model).values() for word in named}
    kept = dict.fromkeys((t.card.name, t.backbone) for t in grid.tasks if asked and t.backbone not in asked)
    return [
        f"task {name!r} keeps its published model {model!r}; it takes none that is named"
        for name, model in kept
    ]


def results_table(results: Sequence[Record], config: RunConfig) -> Table:
    """The table of an order's results, with intervals from the answers in its store."""
    return table_of(same_data(results), items_in([Path(config.output)]))


def print_results(table: Table, config: RunConfig, summaries: Summaries | None = None) -> None:
    """Show a table, and its standings if there are any, as asked: on the standard output, and as a file."""
    from smc_eval.reporting import terminal

    if config.json_file == "-":
        typer.echo(terminal.render_table(table, "json", summaries), nl=False)
        return
    if config.format == "table":
        from rich.console import Console

        terminal.print_table(table, Console(), summaries)
    else:
        typer.echo(terminal.render_table(table, config.format, summaries), nl=False)
    if config.json_file:  # last: a disk that is full must not hide the table
        write_text(Path(config.json_file), terminal.render_table(table, "json", summaries))


def check_outputs(config: RunConfig) -> None:
    """Find out before anything runs that what was asked for can be written, and who is to run it is there.

    Raises:
        UsageError: the file of records cannot be, or the executor's word is wrong.
        StoreError: the store's folder cannot be.
    """
    from smc_eval.engine.executors.select import executor_for

    executor_for(config.executor)
    if config.json_file and config.json_file != "-":
        check_writable(Path(config.json_file))
    output = Path(config.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise StoreError(
            f"cannot write to --output {config.output!r}: {error.strerror}; choose another folder"
        ) from None
