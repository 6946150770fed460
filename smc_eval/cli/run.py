"""The verb `run`: from a run configuration to a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smc_eval.cli.grid_run import check_outputs, forecast_of, run_resolved, save_grid
from smc_eval.cli.notices import print_notices
from smc_eval.cli.search_table import bisection_of, outcome_line, print_searches
from smc_eval.engine.distributed import launch
from smc_eval.errors import UsageError
from smc_eval.experiment.cell import Chain
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.planning.resolve import ResolvedCell, Resolver
from smc_eval.planning.sparsity_search import SparsitySearch, run_rounds, searches
from smc_eval.registry import registry
from smc_eval.reporting.export import json_parts, write_text
from smc_eval.reporting.printable import printable_lines
from smc_eval.reporting.table import Table, table_of
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record, same_data
from smc_eval.store.store import Store

if TYPE_CHECKING:
    from smc_eval.reporting.summary import Summaries

ISOLATED = True
"""Whether cells run in a worker process even if one runs at a time, so that a crash costs one cell alone."""


DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Train nothing and write nothing: print what smc-eval plan prints. Default: off.",
    ),
]


def run(config: RunConfig, *, dry_run: DryRunOption = False) -> None:
    """Train, prune and score unfinished cells; print the table.

    Finished cells come from the store, so the same command continues an interrupted run.
    """
    if dry_run:
        plan_instead(config)
        return
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
        records = run_watched(resolved, config)
        if first:
            print_results(results_table(records, config), config)
    if any(record.status == "failed" for record in records):
        raise typer.Exit(1)


def plan_instead(config: RunConfig) -> None:
    """Do what `plan` does with the same flags.

    Raises:
        UsageError: `--json` names a file, which a dry run does not write.
    """
    from smc_eval.cli.plan import plan

    if config.json_file not in {None, "-"}:
        raise UsageError(f"--dry-run writes no file, and --json names {config.json_file!r}; take --json -")
    plan(config)


def run_searches(sparsity_searches: Sequence[SparsitySearch], grid: Grid, config: RunConfig) -> list[Record]:
    """Run sparsity searches round by round, and print their results. Returns the records of all cells."""
    records, states = list[Record](), list(sparsity_searches)
    stored = Store(Path(config.output)).records.latest()
    rounds = run_rounds(
        grid, sparsity_searches, lambda resolved, ahead: run_watched(resolved, config, ahead), stored
    )
    for new_states, new_records in rounds:
        for before, after in zip(states, new_states, strict=True):
            if after != before and not config.quiet:
                typer.echo(printable_lines(outcome_line(after)), err=True)
        records, states = [*records, *new_records], new_states
    if launch.rank() == 0:
        print_searches(states, records, config)
    return records


def run_watched(
    resolved: Sequence[ResolvedCell], config: RunConfig, ahead: Sequence[Chain] = (), **options: bool
) -> list[Record]:
    """`run_resolved`, with progress on the standard error."""
    from rich.console import Console

    from smc_eval.cli.progress import progress_on

    with progress_on(Console(stderr=True), config.quiet, forecast=forecast_of(resolved, config)) as watcher:
        return run_resolved(resolved, config, watcher, ahead, isolated=ISOLATED, **options)


def results_table(records: Sequence[Record], config: RunConfig) -> Table:
    """The table of a run, with intervals from the predictions in its store."""
    return table_of(same_data(records), items_in([Path(config.output)]))


def print_results(table: Table, config: RunConfig, summaries: Summaries | None = None) -> None:
    """Print a table, and summaries if there are any, to the standard output and to the file of `--json`."""
    from smc_eval.reporting import terminal

    if config.json_file == "-" or config.format == "json":
        for part in json_parts(table, summaries):
            typer.echo(part, nl=False)
    elif config.format == "table":
        from rich.console import Console

        terminal.print_table(table, Console(), summaries)
    else:
        typer.echo(terminal.render_table(table, config.format, summaries), nl=False)
    if config.json_file and config.json_file != "-":  # last: a full disk must not hide the table
        write_text(Path(config.json_file), json_parts(table, summaries))
