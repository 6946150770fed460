"""The verb `work`: join the grid of a store, from any number of processes and machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from smc_eval import __version__
from smc_eval.cli.run import (
    GRID_SCHEMA,
    MACHINE_FLAGS,
    check_outputs,
    print_results,
    results_table,
    run_resolved,
    save_grid,
    warn_of_limit,
)
from smc_eval.engine.distributed import launch
from smc_eval.errors import StoreError, UsageError
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.planning.resolve import ResolvedCell, Resolver, unresolved_lines
from smc_eval.registry import registry


def work(config: RunConfig) -> None:
    """Carry out cells of a store's grid, beside whoever else does, on this machine or another.

    With flags or --grid: orders that grid in the store of --output, and begins. With --output alone:
    joins what was ordered there last, by run or by work. Any number may join, and leave, at any time;
    all show the table when no cell is left.
    """
    launch.refuse_with_ranks("work")
    if config.find:
        raise UsageError("--find decides its next cells by what came of the last; search with run --jobs N")
    check_outputs(config)
    cells = dict[str, str]()
    if joining := not config.model_fields_set - MACHINE_FLAGS - {"data_dir"}:
        config, cells = joined_config(config)
    warn_of_limit(config)
    squares = Resolver().resolve_all(Grid.of(config, registry()).cells())
    if joining:
        refuse_other_cells(cells, squares, config.output)
    else:
        save_grid(config, squares)
    results = run_resolved(squares, config, alone=False, retry=not joining)
    print_results(results_table(results, config), config)
    failed = sum(result.status == "failed" for result in results)
    if failed:
        typer.echo(f"{failed} cells failed; order the grid again to try them once more", err=True)
        raise typer.Exit(1)


def joined_config(own: RunConfig) -> tuple[RunConfig, dict[str, str]]:
    """The order of a store with what this machine says for itself, and the cells it is made of.

    Raises:
        UsageError: nothing was ordered there.
        StoreError: another release ordered it.
    """
    from smc_eval.store.store import Store

    found = Store(Path(own.output)).saved_grid()
    if found is None:
        raise UsageError(
            f"nothing was ordered in {own.output!r} to join; order it with --tasks and --method, or --grid"
        )
    if found.get("schema") != GRID_SCHEMA or found.get("release") != __version__:
        raise StoreError(
            f"release {found.get('release')!r} of smc-eval ordered the grid in {own.output!r}, this is "
            f"{__version__!r}; join with the same release, or order it again"
        )
    said = {RunConfig.model_fields[name].alias or name: getattr(own, name) for name in own.model_fields_set}
    return RunConfig.model_validate({**found["order"], **said}), found["cells"]


def refuse_other_cells(wanted: dict[str, str], squares: Sequence[ResolvedCell], output: str) -> None:
    """Make sure that this machine means the same cells by the same words.

    Raises:
        UsageError: its data, its checkpoints or a plugin differ from those of who ordered.
    """
    found = {square.chain.digest for square in squares if square.chain}
    differing = [label for digest, label in wanted.items() if digest not in found]
    if differing or len(found) > len(wanted):
        why = [line for line in unresolved_lines(squares) if "cannot make" not in line][:1]
        raise UsageError(
            f"{len(differing)} of {len(wanted)} cells are others here than where {output!r} was ordered"
            + (f" (first: {differing[0]})" if differing else "")
            + "".join(f"; {line}" for line in why)
            + "\nuse the same data, checkpoints and versions of plugins on all machines"
        )
