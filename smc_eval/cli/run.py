"""The verb `run`: an order becomes a table."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer

from smc_eval.errors import StoreError
from smc_eval.grid import Binder, Bound, Grid
from smc_eval.order import Order
from smc_eval.registry import registry
from smc_eval.results import Result


def run(order: Order) -> None:
    """Train, prune, score: run every cell that is not finished yet, and show the table."""
    grid = Grid.of(order, registry())
    output = Path(order.output)
    writable(output, order.json_file)
    if order.limit:
        typer.echo(
            f"warning: --limit {order.limit} keeps only {order.limit} examples of each part; "
            "these are no results, and every record says so",
            err=True,
        )
    for note in served(order, grid):
        typer.echo(f"note: {note}", err=True)
    squares = Binder().bound(grid.cells())
    results = carried_out(squares, order, output)
    told(results, order)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


def carried_out(squares: Sequence[Bound], order: Order, output: Path) -> list[Result]:
    """The results of all cells in the grid's order, those that could not be bound among them."""
    from rich.console import Console

    from smc_eval.live import watcher

    chains = [square.chain for square in squares if square.chain]
    with watcher(Console(stderr=True), order.quiet) as watching:
        for square in squares:
            if not square.chain:
                watching.note(f"{square.cell.label}: {square.record.status}: {square.error}")
        if chains:
            from smc_eval.engine.runner import run as run_all

            ran = iter(run_all(chains, output, device=order.device, threads=order.threads, watcher=watching))
        else:
            ran = iter(())
    return [next(ran) if square.chain else square.record for square in squares]


def served(order: Order, grid: Grid) -> list[str]:
    """Which tasks keep their published model, though another was named."""
    from smc_eval import words

    asked = {word for named in words.models(order.model).values() for word in named}
    kept = dict.fromkeys((t.card.name, t.backbone) for t in grid.tasks if asked and t.backbone not in asked)
    return [
        f"task {name!r} keeps its published model {model!r}; it takes none that is named"
        for name, model in kept
    ]


def told(results: Sequence[Result], order: Order) -> None:
    """Show the results as asked: on the standard output, and as a file of records."""
    from smc_eval import report

    if order.json_file:
        records = report.render(results, "json")
        if order.json_file == "-":
            typer.echo(records)
            return
        report.write(records, Path(order.json_file))
    if order.format == "table":
        from rich.console import Console

        Console().print(report.table(results))
    else:
        typer.echo(report.render(results, order.format))


def writable(output: Path, json_file: str | None) -> None:
    """Find out before anything runs that results can be written.

    Raises:
        StoreError: they cannot.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise StoreError(
            f"cannot write to --output {str(output)!r}: {error.strerror}; choose another folder"
        ) from None
    writable_file(json_file)


def writable_file(json_file: str | None) -> None:
    """Find out before anything runs that the records can be written as JSON.

    Raises:
        StoreError: they cannot.
    """
    if json_file is None or json_file == "-":
        return
    path = Path(json_file)
    if path.is_dir():
        raise StoreError(f"cannot write --json {json_file!r}: it is a folder; name a file")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise StoreError(
            f"cannot write --json {json_file!r}: {error.strerror}; choose another file"
        ) from None
