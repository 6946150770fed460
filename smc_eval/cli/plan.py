"""The verb `plan`: what a run would do, and what it would cost; touches no model."""

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
from smc_eval.cli.search_table import bisection_of
from smc_eval.cli.store import bytes_text as sized
from smc_eval.experiment import parsing
from smc_eval.experiment.cell import Cell, Chain, shared_nets
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.planning.cost_model import ANY_TASK, DeviceRate, TrainingCost, read_rates
from smc_eval.planning.plan import Plan, StageNode, describe_stage, describe_target
from smc_eval.planning.resolve import ResolvedCell, Resolver, supposed_lines, unresolved_lines
from smc_eval.planning.sparsity_search import SparsitySearch, first_cells, most_cells, searches
from smc_eval.registry import registry
from smc_eval.reporting.text_table import UNLIMITED_WIDTH
from smc_eval.task import BUILT_MODELS, Task

if TYPE_CHECKING:
    from rich.table import Table
    from rich.tree import Tree

    from smc_eval.store.store import Store


def plan(
    config: RunConfig,
    *,
    rates: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Rates of a device by task and model, to tell hours by."),
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option(
            metavar="N", min=1, help="Operations a second that a device reaches, where --rates does not say."
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(metavar="N,N", help="Tell how long so many workers take, each with one such device."),
    ] = None,
) -> None:
    """Show the stages a run would go through, which are done already, and what is still to pay.

    What cannot be read here, models and data, counts as published. With --quiet the stages are left out.
    """
    from smc_eval.store.store import Store

    known, counts = registry(), () if workers is None else parsing.parse_workers(workers)
    given = read_rates(rates, [*known.tasks, *known.groups]) if rates else ()
    given += (DeviceRate(task=ANY_TASK, flops=flops),) if flops else ()
    grid = Grid.of(config, known)
    sought = searches(grid, bisection_of(config)) if config.find else []
    squares = Resolver(published=True).resolve_all(first_cells(grid, sought) if sought else grid.cells())
    store = Store(Path(config.output))
    finished = cache(store.finished)
    chains = [square.chain for square in squares if square.chain]
    planned = Plan.of(chains, finished, store.records.latest().values(), given=given, work=forward_flops)
    makespans = Makespans.of(planned, finished, counts) if counts else None
    unbound = [square for square in squares if not square.chain]
    if config.json_file:
        told = _json(planned, squares, unbound) | _bounds(grid, sought) | _kept(store, chains)
        told["makespans"] = makespans.document() if makespans else None
        typer.echo(json.dumps(told, indent=1, allow_nan=False))
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = UNLIMITED_WIDTH
    for tree in () if config.quiet else _trees(planned):
        console.print(tree)
    if len(prices := planned.prices()) > 1:
        console.print(_table(prices), highlight=False)
        console.print()
    for line in (*_held(grid, sought), *_sums(planned, squares, _disk(store, chains))):
        console.print(line, markup=False, highlight=False)
    for line in makespans.lines(time_text) if makespans else [UNKNOWN_MAKESPAN] * bool(counts):
        console.print(line, markup=False, highlight=False)


def forward_flops(task: Task) -> float | None:
    """Operations of a forward pass over one example: two for each weight that each of its tokens meets."""
    if task.backbone in BUILT_MODELS or (sizes := published_sizes(task)) is None:
        return None
    from smc_eval.tasks import dimensions  # here, or the program's help would have all tasks made

    told = dimensions.dimensions_of(task.backbone)
    weights = dimensions.matrices(told) if told else None
    return 2.0 * weights * sizes.tokens if weights else None


def _held(grid: Grid, sought: Sequence[SparsitySearch]) -> Iterator[str]:
    """What binds all cells, and what the tree cannot show yet."""
    if grid.budget:
        yield f"every chain is held to match {grid.budget.label}"
    if sought:
        search = sought[0].bracket.search
        yield (
            f"find {search.label} begins with these cells and takes {most_cells(grid, sought)} at most: "
            f"up to {search.most()} sparsities a search"
        )


def _json(planned: Plan, squares: Sequence[ResolvedCell], unbound: Iterable[ResolvedCell]) -> dict[str, Any]:
    return {
        "schema": 1,
        "totals": planned.totals(),
        "prices": [asdict(price) for price in planned.prices()],
        "published": supposed_lines(squares),
        "starts": [
            {
                "label": _owner(root),
                "digest": root.digest,
                "stages": [_stage(node) for node in root.walk() if node.stage],
            }
            for root in planned.roots
        ],
        "unbound": [{"cell": one.cell.label, "reason": str(one.error)} for one in unbound],
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


def _trees(planned: Plan) -> list[Tree]:
    """One tree a start; starts that look alike, as folds and seeds do, share one."""
    from rich.text import Text
    from rich.tree import Tree

    def grow(branch: Tree, node: StageNode) -> None:
        """Hang what follows a node on a branch; only a fork indents, or lotteries would leave the page."""
        waiting = [(branch, after, "") for after in reversed(node.after)]
        while waiting:
            parent, first, then = waiting.pop()
            run = list(_run(first))
            style = "" if first.todo else "dim"
            line = Text(then + _line(run, planned.scored), style=style)
            child, last = parent.add(line), run[-1]
            alone = len(last.after) == 1
            waiting += [
                (parent if alone else child, after, "then " if alone else "")
                for after in reversed(last.after)
            ]

    alike: dict[tuple[str, ...], list[StageNode]] = {}
    for root in planned.roots:
        first = next(_cells(root)).task
        alike.setdefault((first.label, first.backbone, *_shape(root, planned.scored)), []).append(root)
    trees = []
    for roots in alike.values():
        many = f"  and {len(roots) - 1} alike: other folds, seeds" if len(roots) > 1 else ""
        trees.append(Tree(Text(_owner(roots[0]) + many, style="bold")))
        grow(trees[-1], roots[0])
    return trees


def _shape(root: StageNode, scored: frozenset[str]) -> tuple[str, ...]:
    return tuple(f"{len(node.after)} {_line([node], scored)}" for node in root.walk() if node.stage)


def _run(node: StageNode) -> Iterator[StageNode]:
    """A node and those after it, as long as nothing forks, is scored or changes its state."""
    yield node
    while not node.ends and len(node.after) == 1 and node.after[0].todo == node.todo:
        node = node.after[0]
        yield node


def _line(run: list[StageNode], scored: frozenset[str]) -> str:
    """Stages in words, their state, and the cells that are scored after them."""
    stages = ", ".join(describe_stage(node.stage, node.steps) for node in run if node.stage)
    ends = run[-1].ends
    several = len({chain.cell.task.card.name for chain in ends}) > 1  # trained as one, reported apart
    named = (f"{one.cell.task.card.name} " * several + _name(one.cell) for one in ends)
    names = f"  → {', '.join(named)}" if ends else ""
    known = " (scored)" if ends and all(chain.digest in scored for chain in ends) else ""
    return f"{stages}  [{'to do' if run[0].todo else 'done'}]{names}{known}"


def _name(cell: Cell) -> str:
    name = cell.method.label
    return name if cell.method.card.when in {"none", "custom"} else f"{name} {describe_target(cell.target)}"


def _owner(root: StageNode) -> str:
    cell = next(_cells(root))
    tasks = ", ".join(dict.fromkeys(one.task.label for one in _cells(root)))
    fold = "" if cell.task.fold is None else f", fold {cell.task.fold}"
    return f"{tasks} · {cell.task.backbone}{fold}, seed {cell.seed}"


def _cells(root: StageNode) -> Iterator[Cell]:
    return (chain.cell for node in root.walk() for chain in node.ends)


def _table(prices: Iterable[TrainingCost]) -> Table:
    """The cost by task and model."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("task", "model"):
        drawn.add_column(name, no_wrap=True)
    for name in ("cells", "steps to pay", "without sharing", "FLOPs", "hours", "without sharing"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for one in prices:
        hours = [None if part is None else part / 3600 for part in (one.seconds, one.seconds_naive)]
        drawn.add_row(
            ", ".join(one.tasks),
            one.model,
            *(f"{count:,}" for count in (one.cells, one.steps, one.naive)),
            "?" if one.flops is None else f"{one.flops:.2g}",
            *("?" if part is None else f"{part:,.3g}" if part < 100 else f"{part:,.0f}" for part in hours),
        )
    return drawn


def _sums(planned: Plan, squares: Sequence[ResolvedCell], disk: str) -> list[str]:
    sums = planned.totals()
    lines = [
        (
            f"{sums['cells']} cells, {sums['cells_scored']} of them scored; "
            f"{sums['stages']} stages, {sums['stages_to_do']} to do"
        ),
        (
            f"{sums['steps_to_pay']} optimizer steps to pay, of {sums['steps_shared']} in all stages; "
            f"without sharing there would be {sums['steps_naive']}"
        ),
        disk,
        _time(planned, sums),
    ]
    return [*lines, *supposed_lines(squares), *unresolved_lines(squares)]


def _time(planned: Plan, sums: dict[str, Any]) -> str:
    seconds, flops = sums["seconds_to_pay"], sums["flops_to_pay"]
    if seconds is None and planned.given:
        return "unknown rate: what was given tells nothing of some task and model that is to be paid"
    if seconds is None:
        seen = "unknown rate: this store has seen no training of some task and model that is to be paid"
        return seen if flops is None else f"{seen}; {flops:.2g} operations, to be told in hours by --flops"
    told = f"about {time_text(seconds)} of training to pay"
    if planned.given:
        told += " on a device of the given rate"
    if planned.given and sums["seconds_naive"] is not None:
        told += f", {time_text(sums['seconds_naive'])} without sharing"
    return told


def _bounds(grid: Grid, sought: Sequence[SparsitySearch]) -> dict[str, Any]:
    return {
        "match": grid.budget.label if grid.budget else None,
        "find_cells_at_most": most_cells(grid, sought) if sought else None,
    }


def _kept(store: Store, chains: Sequence[Chain]) -> dict[str, int | None]:
    from smc_eval.store.inventory import bytes_needed

    return {"nets_kept": len(shared_nets(chains)), "bytes_kept": bytes_needed(store, chains)}


def _disk(store: Store, chains: Sequence[Chain]) -> str:
    """What a run would keep on disk."""
    kept = _kept(store, chains)
    nets = f"{kept['nets_kept']} nets kept where stages are shared"
    if kept["bytes_kept"] is None:
        return f"{nets}; how large is known once the store holds one"
    return f"{nets}, about {sized(kept['bytes_kept'])}; --keep results bounds it"


def time_text(seconds: float) -> str:
    """A length of time as one says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 3600:,.0f} h"
