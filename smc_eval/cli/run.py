"""The verb `run`: an order becomes a table."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer

from smc_eval import __version__
from smc_eval.cli.search_table import answered, searched, step
from smc_eval.engine.distributed import launch
from smc_eval.errors import StoreError
from smc_eval.experiment import parsing
from smc_eval.experiment.cell import Chain
from smc_eval.experiment.config import Order
from smc_eval.experiment.grid import Grid
from smc_eval.planning.resolve import Binder, Bound, idle
from smc_eval.planning.sparsity_search import Quest, left_out, quests, rounds
from smc_eval.registry import registry
from smc_eval.reporting.export import check_writable
from smc_eval.reporting.summary import Standings
from smc_eval.reporting.table import Table, tabulated
from smc_eval.store.predictions import kept
from smc_eval.store.records import Result, same_data

SCHEMA = 1
"""Version of what a store tells of the grid that was ordered."""

OWN = frozenset({"device", "executor", "format", "jobs", "json_file", "output", "quiet", "shard", "threads"})
"""What each machine says for itself, as it does of its data folder; all else is the grid's."""


def run(order: Order) -> None:
    """Train, prune, score: run every cell that is not finished yet, and show the table."""
    grid = Grid.of(order, registry())
    sought = quests(grid, searched(order)) if order.find else []
    first = launch.rank() == 0  # of ranks that carry out the run together, it alone writes
    if first:
        ready(order)
    warned(order)
    for note in () if order.quiet else served(order, grid):
        typer.echo(f"note: {note}", err=True)
    if sought:
        results = found(sought, grid, order)
    else:
        squares = Binder().bound(grid.cells())
        if first:
            ordered(order, squares)
        results = carried_out(squares, order)
        if first:
            told(tabled(results, order), order)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


def warned(order: Order) -> None:
    """Say loudly what makes results no results."""
    if order.limit:
        typer.secho(
            f"warning: --limit {order.limit} keeps only {order.limit} examples of each part; "
            "these are no results, and every record says so",
            err=True,
            fg="yellow",
            bold=True,
        )


def found(sought: Sequence[Quest], grid: Grid, order: Order) -> list[Result]:
    """Search, round by round, and show what was found; the records of all cells it took."""
    for line in () if order.quiet else left_out(grid):
        typer.echo(f"note: {line}, and is not searched", err=True)
    results, stand = list[Result](), list(sought)
    for after, records in rounds(grid, sought, lambda squares, ahead: carried_out(squares, order, ahead)):
        for before, now in zip(stand, after, strict=True):
            if now != before and not order.quiet:
                typer.echo(step(now), err=True)
        results, stand = [*results, *records], after
    if launch.rank() == 0:
        answered(stand, results, order)
    return results


def carried_out(
    squares: Sequence[Bound], order: Order, ahead: Sequence[Chain] = (), **how: bool
) -> list[Result]:
    """The results of all cells in the grid's order, those that could not be bound among them.

    `ahead` are chains that may be asked for later. `how` goes to the runner: whether it works alone,
    and runs again what failed before.
    """
    from rich.console import Console

    from smc_eval.cli.progress import watching

    chains = [square.chain for square in squares if square.chain]
    with watching(Console(stderr=True), order.quiet) as watcher:
        for line in idle(squares):
            watcher.note(line)
        if chains:
            from smc_eval.engine.runner import run as run_all

            ran = iter(
                run_all(
                    chains,
                    Path(order.output),
                    ahead=ahead,
                    device=order.device,
                    threads=threads(chains, order),
                    watcher=watcher,
                    jobs=order.jobs,
                    keep=order.keep,
                    executor=order.executor,
                    shard=order.shard,
                    **how,
                )
            )
        else:
            ran = iter(())
    return [next(ran) if square.chain else square.record for square in squares]


def ordered(order: Order, squares: Sequence[Bound]) -> None:
    """Write the order into the store, so that others can join."""
    from smc_eval.store.store import Store

    said = order.model_dump(mode="json", by_alias=True, include=order.model_fields_set - OWN)
    if order.data_dir not in {"hub", "twin"}:
        said["data_dir"] = str(Path(order.data_dir).absolute())
    cells = {square.chain.digest: square.cell.label for square in squares if square.chain}
    store = Store(Path(order.output))
    store.open()
    store.order({"schema": SCHEMA, "release": __version__, "order": said, "cells": cells})


def threads(chains: Sequence[Chain], order: Order) -> int | None:
    """CPU threads of a job; None leaves them to the machine."""
    tiny = all(chain.cell.task.backbone == "tiny" for chain in chains)
    return order.threads or (1 if tiny else None)


def served(order: Order, grid: Grid) -> list[str]:
    """Which tasks keep their published model, though another was named."""
    asked = {word for named in parsing.models(order.model).values() for word in named}
    kept = dict.fromkeys((t.card.name, t.backbone) for t in grid.tasks if asked and t.backbone not in asked)
    return [
        f"task {name!r} keeps its published model {model!r}; it takes none that is named"
        for name, model in kept
    ]


def tabled(results: Sequence[Result], order: Order) -> Table:
    """The table of an order's results, with intervals from the answers in its store."""
    return tabulated(same_data(results), kept([Path(order.output)]))


def told(table: Table, order: Order, standings: Standings | None = None) -> None:
    """Show a table, and its standings if there are any, as asked: on the standard output, and as a file."""
    from smc_eval.reporting import terminal

    if order.json_file == "-":
        typer.echo(terminal.render(table, "json", standings), nl=False)
        return
    if order.format == "table":
        from rich.console import Console

        terminal.show(table, Console(), standings)
    else:
        typer.echo(terminal.render(table, order.format, standings), nl=False)
    if order.json_file:  # last: a disk that is full must not hide the table
        terminal.write(Path(order.json_file), terminal.render(table, "json", standings))


def ready(order: Order) -> None:
    """Find out before anything runs that what was asked for can be written, and who is to run it is there.

    Raises:
        UsageError: the file of records cannot be, or the executor's word is wrong.
        StoreError: the store's folder cannot be.
    """
    from smc_eval.engine.executors.select import engine

    engine(order.executor)
    if order.json_file and order.json_file != "-":
        check_writable(Path(order.json_file))
    output = Path(order.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise StoreError(
            f"cannot write to --output {order.output!r}: {error.strerror}; choose another folder"
        ) from None
