"""The verb `work`: join the grid of a store, from any number of processes and machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from smc_eval import __version__
from smc_eval.cli.run import OWN, SCHEMA, carried_out, ordered, ready, tabled, told, warned
from smc_eval.engine.distributed import launch
from smc_eval.errors import StoreError, UsageError
from smc_eval.experiment.config import Order
from smc_eval.experiment.grid import Grid
from smc_eval.planning.resolve import Binder, Bound, idle
from smc_eval.registry import registry


def work(order: Order) -> None:
    """Carry out cells of a store's grid, beside whoever else does, on this machine or another.

    With flags or --grid: orders that grid in the store of --output, and begins. With --output alone:
    joins what was ordered there last, by run or by work. Any number may join, and leave, at any time;
    all show the table when no cell is left.
    """
    launch.refuse("work")
    if order.find:
        raise UsageError("--find decides its next cells by what came of the last; search with run --jobs N")
    ready(order)
    cells = dict[str, str]()
    if joining := not order.model_fields_set - OWN - {"data_dir"}:
        order, cells = joined(order)
    warned(order)
    squares = Binder().bound(Grid.of(order, registry()).cells())
    if joining:
        same(cells, squares, order.output)
    else:
        ordered(order, squares)
    results = carried_out(squares, order, alone=False, again=not joining)
    told(tabled(results, order), order)
    failed = sum(result.status == "failed" for result in results)
    if failed:
        typer.echo(f"{failed} cells failed; order the grid again to try them once more", err=True)
        raise typer.Exit(1)


def joined(own: Order) -> tuple[Order, dict[str, str]]:
    """The order of a store with what this machine says for itself, and the cells it is made of.

    Raises:
        UsageError: nothing was ordered there.
        StoreError: another release ordered it.
    """
    from smc_eval.store.store import Store

    found = Store(Path(own.output)).ordered()
    if found is None:
        raise UsageError(
            f"nothing was ordered in {own.output!r} to join; order it with --tasks and --method, or --grid"
        )
    if found.get("schema") != SCHEMA or found.get("release") != __version__:
        raise StoreError(
            f"release {found.get('release')!r} of smc-eval ordered the grid in {own.output!r}, this is "
            f"{__version__!r}; join with the same release, or order it again"
        )
    said = {Order.model_fields[name].alias or name: getattr(own, name) for name in own.model_fields_set}
    return Order.model_validate({**found["order"], **said}), found["cells"]


def same(wanted: dict[str, str], squares: Sequence[Bound], output: str) -> None:
    """Make sure that this machine means the same cells by the same words.

    Raises:
        UsageError: its data, its checkpoints or a plugin differ from those of who ordered.
    """
    found = {square.chain.digest for square in squares if square.chain}
    differing = [label for digest, label in wanted.items() if digest not in found]
    if differing or len(found) > len(wanted):
        why = [line for line in idle(squares) if "cannot make" not in line][:1]
        raise UsageError(
            f"{len(differing)} of {len(wanted)} cells are others here than where {output!r} was ordered"
            + (f" (first: {differing[0]})" if differing else "")
            + "".join(f"; {line}" for line in why)
            + "\nuse the same data, checkpoints and versions of plugins on all machines"
        )
