"""The verb `plan`: the stages that a run would execute, and their cost. It loads no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smc_eval.capabilities import published_sizes
from smc_eval.cli.makespan_table import UNKNOWN_MAKESPAN, Makespans
from smc_eval.cli.notices import Notices
from smc_eval.cli.plan_tree import stage_trees, start_label
from smc_eval.cli.search_table import bisection_of
from smc_eval.cli.store import bytes_text
from smc_eval.errors import counted
from smc_eval.experiment import parsing, spec_text
from smc_eval.experiment.cell import Chain, shared_nets
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.planning.cost_model import ANY_TASK, DeviceRate, TrainingCost, read_rates
from smc_eval.planning.plan import Plan, StageNode, describe_stage
from smc_eval.planning.resolve import ResolvedCell, Resolver, assumption_lines
from smc_eval.planning.sparsity_search import SparsitySearch, first_cells, most_cells, searches
from smc_eval.registry import registry
from smc_eval.reporting.printable import printable, printable_lines
from smc_eval.reporting.text_table import UNLIMITED_WIDTH, TextTable
from smc_eval.store.layout import check_layout
from smc_eval.task import BUILT_MODELS, Task

if TYPE_CHECKING:
    from smc_eval.store.store import Store


RatesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml",
        help="Training speed of a device by task and model, to estimate hours. Default: the speeds that the "
        "store has measured.",
    ),
]
FlopsOption = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Operations per second that the device reaches, for tasks without an entry in --rates. Default: "
        "none.",
    ),
]
WorkersOption = Annotated[
    str | None,
    typer.Option(
        metavar="N,N",
        help="Numbers of workers, each with one such device; prints how long they take. Default: none.",
    ),
]


def plan(
    config: RunConfig, *, rates: RatesOption = None, flops: FlopsOption = None, workers: WorkersOption = None
) -> None:
    """Show the stages that a run would execute, and their cost.

    Nothing is trained, and nothing is written. Published sizes replace data and models that are missing. With
    --quiet it prints only sums and notices.
    """
    from smc_eval.store.store import Store

    known, counts = registry(), () if workers is None else parsing.parse_workers(workers)
    given = read_rates(rates, [*known.tasks, *known.groups]) if rates else ()
    if flops:
        of_all = {"task": ANY_TASK, "flops": flops}
        given += (spec_text.check_spec(DeviceRate, of_all, "flag", "the command line"),)
    grid = Grid.of(config, known)
    check_layout(Path(config.output))
    search_list = searches(grid, bisection_of(config)) if config.find else []
    cells = first_cells(grid, search_list) if search_list else grid.cells()
    resolved = Resolver(published=True).resolve_all(cells)
    store = Store(Path(config.output))
    finished = cache(store.finished)
    chains = [cell.chain for cell in resolved if cell.chain]
    records = store.records.latest().values()
    planned = Plan.of(chains, finished, records, given=given, forward_flops=forward_flops)
    makespans = Makespans.of(planned, finished, counts) if counts else None
    notices = Notices.of(config, grid, resolved)
    if config.json_file:
        content = _json(planned, resolved) | _bounds(grid, search_list) | _kept_nets(store, chains)
        content |= {"scopes_unknown": len(_unknown_scopes(store, chains))}
        content |= notices._asdict() | {"makespans": makespans.document() if makespans else None}
        typer.echo(json.dumps(content, indent=1, allow_nan=False))
        return
    from rich.console import Console

    from smc_eval.reporting.terminal import print_text_table

    console = Console()
    if not console.is_terminal:
        console.width = UNLIMITED_WIDTH
    for tree in () if config.quiet else stage_trees(planned):
        console.print(tree)
    if len(costs := planned.costs()) > 1:
        print_text_table(_table(costs), console)
    sums = [
        *_scope_line(store, chains),
        *_sums(planned, _kept_nets_line(store, chains)),
        *assumption_lines(resolved),
    ]
    for line in (*_bound_lines(grid, search_list), *sums, *notices.lines()):
        console.print(printable_lines(line), markup=False, highlight=False)
    for line in makespans.lines(time_text) if makespans else [UNKNOWN_MAKESPAN] * bool(counts):
        console.print(line, markup=False, highlight=False)


def forward_flops(task: Task) -> float | None:
    """Operations of a forward pass over one example: two for each weight and token that it multiplies."""
    if task.backbone in BUILT_MODELS or (sizes := published_sizes(task)) is None:
        return None
    from smc_eval.tasks import dimensions  # imported here, because it loads all tasks

    sides = dimensions.dimensions_of(task.backbone)
    weights = dimensions.matrices(sides) if sides else None
    return 2.0 * weights * sizes.tokens if weights else None


def _bound_lines(grid: Grid, search_list: Sequence[SparsitySearch]) -> Iterator[str]:
    """The training budget, and the size of the searches, which the tree does not show."""
    if grid.budget:
        yield f"every chain has the training budget of --match {grid.budget.label}"
    if search_list:
        search = search_list[0].bracket.search
        yield (
            f"--find {search.label} starts with these cells and runs at most "
            f"{most_cells(grid, search_list)}, with at most {search.most_runs()} sparsities for each search"
        )


def _json(planned: Plan, resolved: Sequence[ResolvedCell]) -> dict[str, Any]:
    return {
        "schema": 2,
        "totals": planned.totals(),
        "costs": [asdict(cost) for cost in planned.costs()],
        "published": assumption_lines(resolved),
        "starts": [
            {
                "label": start_label(root),
                "digest": root.digest,
                "stages": [_stage(node) for node in root.walk() if node.stage],
            }
            for root in planned.roots
        ],
        "cannot_run": [
            {"cell": cell.cell.label, "reason": str(cell.error)} for cell in resolved if not cell.chain
        ],
    }


def _stage(node: StageNode) -> dict[str, Any]:
    assert node.stage is not None
    return {
        "stage": describe_stage(node.stage, node.steps),
        "digest": node.digest,
        "steps": node.steps,
        "to_do": node.todo,
        "after": [after.digest for after in node.after],
        "cells": [chain.cell.label for chain in node.ends],
    }


PLAN_HEADS = (
    "task",
    "model",
    "cells",
    "steps to run",
    "without sharing",
    "FLOPs",
    "hours",
    "without sharing",
)


def _table(costs: Iterable[TrainingCost]) -> TextTable:
    """The cost by task and model."""
    return TextTable(PLAN_HEADS, "llrrrrrr", tuple(map(_row, costs)))


def _row(cost: TrainingCost) -> tuple[str, ...]:
    hours = [None if part is None else part / 3600 for part in (cost.seconds, cost.seconds_without_sharing)]
    return (
        printable(", ".join(cost.tasks)),
        printable(cost.model),
        *(f"{count:,}" for count in (cost.cells, cost.steps, cost.steps_without_sharing)),
        "?" if cost.flops is None else f"{cost.flops:.2g}",
        *("?" if part is None else f"{part:,.3g}" if part < 100 else f"{part:,.0f}" for part in hours),
    )


def _sums(planned: Plan, kept_nets: str) -> Iterator[str]:
    sums = planned.totals()
    yield (
        f"{counted(sums['cells'], 'cell')}, {sums['cells_scored']} of them scored; "
        f"{counted(sums['stages'], 'stage')}, {sums['stages_to_do']} to do"
    )
    yield (
        f"{counted(sums['steps_to_run'], 'optimizer step')} to run, of {sums['steps_shared']} in all stages; "
        f"{sums['steps_without_sharing']} without sharing"
    )
    yield kept_nets
    yield _time_line(planned, sums)


def _time_line(planned: Plan, sums: dict[str, Any]) -> str:
    seconds, flops = sums["seconds_to_run"], sums["flops_to_run"]
    if seconds is None:
        names = [
            f"{', '.join(cost.tasks)} with {cost.model}" for cost in planned.costs() if cost.seconds is None
        ]
        place = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        if planned.given:
            return f"hours unknown: the given rates do not cover {place}"
        work = "" if flops is None else f" ({flops:.2g} operations in all)"
        return f"hours unknown: nothing has been trained here yet for {place}{work}; give --rates or --flops"
    text = f"about {time_text(seconds)} of training to run"
    if planned.given:
        text += " on a device of the given rate"
    if planned.given and sums["seconds_without_sharing"] is not None:
        text += f", {time_text(sums['seconds_without_sharing'])} without sharing"
    return text


def _bounds(grid: Grid, search_list: Sequence[SparsitySearch]) -> dict[str, Any]:
    return {
        "match": grid.budget.label if grid.budget else None,
        "find_cells_at_most": most_cells(grid, search_list) if search_list else None,
    }


def _unknown_scopes(store: Store, chains: Sequence[Chain]) -> set[str]:
    """Starts of which the store does not know yet which matrices their net uses."""
    return {start for start in {chain.start for chain in chains} if store.net_uses.load(start) is None}


def _scope_line(store: Store, chains: Sequence[Chain]) -> Iterator[str]:
    if count := len(_unknown_scopes(store, chains)):
        nets = "1 start" if count == 1 else f"{count} starts"
        yield (
            f"not known yet of {nets}, found when the net is made: what it does not use, and whether other "
            "examples of a batch change its outputs"
        )


def _kept_nets(store: Store, chains: Sequence[Chain]) -> dict[str, int | None]:
    from smc_eval.store.inventory import bytes_needed

    return {"nets_kept": len(shared_nets(chains)), "bytes_kept": bytes_needed(store, chains)}


def _kept_nets_line(store: Store, chains: Sequence[Chain]) -> str:
    """The nets that a run would keep on disk."""
    kept = _kept_nets(store, chains)
    number = kept["nets_kept"] or 0
    nets = f"{counted(number, 'shared net')} {'stays' if number == 1 else 'stay'} in the store"
    if kept["bytes_kept"] is None:
        return f"{nets}; their size is known once the store has one"
    return f"{nets}, about {bytes_text(kept['bytes_kept'])}; --keep results deletes them"


def time_text(seconds: float) -> str:
    """A length of time in a suitable unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 3600:,.0f} h"
