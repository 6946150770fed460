"""The verb `work`: run cells of a store's grid, together with other processes and machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from smc_eval import __version__
from smc_eval.cli.grid_run import GRID_SCHEMA, MACHINE_FLAGS, check_outputs, save_grid
from smc_eval.cli.notices import print_notices
from smc_eval.cli.run import print_results, results_table, run_watched
from smc_eval.engine.distributed import launch
from smc_eval.errors import StoreError, UsageError, counted
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.experiment.spec_text import check_spec
from smc_eval.planning.resolve import RefusedTarget, ResolvedCell, Resolver, unresolved_lines
from smc_eval.registry import registry
from smc_eval.store.layout import check_layout


def work(config: RunConfig) -> None:
    """Run cells of a store's grid, beside other processes.

    With flags or --grid, it starts that grid in the store of --output. With --output alone, it joins the grid
    that run or work started there last. Each worker recomputes all cell digests and refuses to start if
    they differ (other data, checkpoints or plugins). Workers may join and leave at any time, on any
    machine. Each prints the table when no cell is left.
    """
    launch.refuse_with_ranks("work")
    if config.find:
        raise UsageError("--find chooses its next cells by the last results; use run --find --jobs N")
    check_layout(Path(config.output))
    cells = dict[str, str]()
    if joining := not config.model_fields_set - MACHINE_FLAGS - {"data_dir"}:
        config, cells = joined_config(config)
    grid = Grid.of(config, registry())
    check_outputs(config)
    print_notices(config, grid)
    resolved = Resolver().resolve_all(grid.cells())
    if joining:
        refuse_other_cells(cells, resolved, config.output)
    else:
        save_grid(config, resolved)
    records = run_watched(resolved, config, alone=False, retry=not joining)
    print_results(results_table(records, config), config)
    failed = sum(record.status == "failed" for record in records)
    if failed:
        typer.echo(f"{counted(failed, 'cell')} failed; start the grid again to try once more", err=True)
        raise typer.Exit(1)


def joined_config(own: RunConfig) -> tuple[RunConfig, dict[str, str]]:
    """The configuration of a store's grid with the flags of this machine, and the cells of the grid.

    Raises:
        UsageError: there is no grid.
        StoreError: another release started it.
    """
    from smc_eval.store.store import Store

    grid = Store(Path(own.output)).saved_grid()
    if grid is None:
        raise UsageError(
            f"{own.output!r} has no grid to join; start one with --tasks and --method, or --grid"
        )
    if grid.get("schema") != GRID_SCHEMA or grid.get("release") != __version__:
        raise StoreError(
            f"release {grid.get('release')!r} of smc-eval started the grid in {own.output!r}, this is "
            f"{__version__!r}; join with the same release, or start the grid again"
        )
    flags = {RunConfig.model_fields[name].alias or name: getattr(own, name) for name in own.model_fields_set}
    saved, cells = grid.get("config"), grid.get("cells")
    if not isinstance(saved, dict) or not isinstance(cells, dict) or not all(map(_is_text, cells.values())):
        raise StoreError(f"the grid in {own.output!r} is not as run and work write it; start the grid again")
    return check_spec(RunConfig, {**saved, **flags}, "key", f"the grid in {own.output!r}"), cells


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def refuse_other_cells(cells: dict[str, str], resolved: Sequence[ResolvedCell], output: str) -> None:
    """Refuse to join a grid whose cells have other digests on this machine.

    Raises:
        UsageError: data, checkpoints or plugins differ from those where the grid was started.
    """
    digests = {cell.chain.digest for cell in resolved if cell.chain}
    differing = [label for digest, label in cells.items() if digest not in digests]
    if differing or len(digests) > len(cells):
        unread = [cell for cell in resolved if not isinstance(cell.error, RefusedTarget)]
        raise UsageError(
            f"{len(differing)} of {counted(len(cells), 'cell')} differ here from the grid in {output!r}"
            + (f" (first: {differing[0]})" if differing else "")
            + "".join(f"; {line}" for line in unresolved_lines(unread)[:1])
            + "\nuse the same data, checkpoints and versions of plugins on all machines"
        )
