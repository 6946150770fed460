"""The verb `plan`: what a run would do, and what it would cost; touches no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smc_eval.cli.makespan_table import UNKNOWN, Makespans
from smc_eval.cli.search_table import searched
from smc_eval.cli.store import spoken as sized
from smc_eval.experiment import parsing
from smc_eval.experiment.cell import Cell, Chain, shared
from smc_eval.experiment.config import Order
from smc_eval.experiment.grid import Grid
from smc_eval.planning.cost_model import EVERY, Price, Rate, read
from smc_eval.planning.plan import Node, Plan, level, worded
from smc_eval.planning.resolve import BUILT, Binder, Bound, counted, idle
from smc_eval.planning.sparsity_search import Quest, most, opening, quests
from smc_eval.registry import registry
from smc_eval.reporting.text_table import WHOLE
from smc_eval.task import Task

if TYPE_CHECKING:
    from rich.table import Table
    from rich.tree import Tree

    from smc_eval.store.store import Store


def plan(
    order: Order,
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

    known, counts = registry(), () if workers is None else parsing.workers(workers)
    given = read(rates, [*known.tasks, *known.groups]) if rates else ()
    given += (Rate(task=EVERY, flops=flops),) if flops else ()
    grid = Grid.of(order, known)
    sought = quests(grid, searched(order)) if order.find else []
    squares = Binder(published=True).bound(opening(grid, sought) if sought else grid.cells())
    store = Store(Path(order.output))
    finished = cache(store.finished)
    chains = [square.chain for square in squares if square.chain]
    planned = Plan.of(chains, finished, store.book.latest().values(), given=given, work=work)
    makespans = Makespans.of(planned, finished, counts) if counts else None
    unbound = [square for square in squares if not square.chain]
    if order.json_file:
        told = _json(planned, squares, unbound) | _bounds(grid, sought) | _kept(store, chains)
        told["makespans"] = makespans.document() if makespans else None
        typer.echo(json.dumps(told, indent=1, allow_nan=False))
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = WHOLE
    for tree in () if order.quiet else _trees(planned):
        console.print(tree)
    if len(prices := planned.prices()) > 1:
        console.print(_table(prices), highlight=False)
        console.print()
    for line in (*_held(grid, sought), *_sums(planned, squares, _disk(store, chains))):
        console.print(line, markup=False, highlight=False)
    for line in makespans.lines(spoken) if makespans else [UNKNOWN] * bool(counts):
        console.print(line, markup=False, highlight=False)


def work(task: Task) -> float | None:
    """Operations of a forward pass over one example: two for each weight that each of its tokens meets."""
    if task.backbone in BUILT or (sizes := task.sizes()) is None:
        return None
    from smc_eval.tasks import dimensions  # here, or the program's help would have all tasks made

    told = dimensions.of(task.backbone)
    weights = dimensions.matrices(told) if told else None
    return 2.0 * weights * sizes.tokens if weights else None


def _held(grid: Grid, sought: Sequence[Quest]) -> Iterator[str]:
    """What binds all cells, and what the tree cannot show yet."""
    if grid.budget:
        yield f"every chain is held to match {grid.budget.words}"
    if sought:
        search = sought[0].bracket.search
        yield (
            f"find {search.words} begins with these cells and takes {most(grid, sought)} at most: "
            f"up to {search.most()} sparsities a search"
        )


def _json(planned: Plan, squares: Sequence[Bound], unbound: Iterable[Bound]) -> dict[str, Any]:
    return {
        "schema": 1,
        "totals": planned.totals(),
        "prices": [asdict(price) for price in planned.prices()],
        "published": counted(squares),
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


def _stage(node: Node) -> dict[str, Any]:
    assert node.stage is not None
    return {
        "stage": worded(node.stage, node.steps),
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

    def grow(branch: Tree, node: Node) -> None:
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

    alike: dict[tuple[str, ...], list[Node]] = {}
    for root in planned.roots:
        first = next(_cells(root)).task
        alike.setdefault((first.words, first.backbone, *_shape(root, planned.scored)), []).append(root)
    trees = []
    for roots in alike.values():
        many = f"  and {len(roots) - 1} alike: other folds, seeds" if len(roots) > 1 else ""
        trees.append(Tree(Text(_owner(roots[0]) + many, style="bold")))
        grow(trees[-1], roots[0])
    return trees


def _shape(root: Node, scored: frozenset[str]) -> tuple[str, ...]:
    return tuple(f"{len(node.after)} {_line([node], scored)}" for node in root.walk() if node.stage)


def _run(node: Node) -> Iterator[Node]:
    """A node and those after it, as long as nothing forks, is scored or changes its state."""
    yield node
    while not node.ends and len(node.after) == 1 and node.after[0].todo == node.todo:
        node = node.after[0]
        yield node


def _line(run: list[Node], scored: frozenset[str]) -> str:
    """Stages in words, their state, and the cells that are scored after them."""
    stages = ", ".join(worded(node.stage, node.steps) for node in run if node.stage)
    ends = run[-1].ends
    several = len({chain.cell.task.card.name for chain in ends}) > 1  # trained as one, reported apart
    named = (f"{one.cell.task.card.name} " * several + _name(one.cell) for one in ends)
    names = f"  → {', '.join(named)}" if ends else ""
    known = " (scored)" if ends and all(chain.digest in scored for chain in ends) else ""
    return f"{stages}  [{'to do' if run[0].todo else 'done'}]{names}{known}"


def _name(cell: Cell) -> str:
    name = cell.method.words
    return name if cell.method.card.moment in {"none", "given"} else f"{name} {level(cell.target)}"


def _owner(root: Node) -> str:
    cell = next(_cells(root))
    tasks = ", ".join(dict.fromkeys(one.task.words for one in _cells(root)))
    fold = "" if cell.task.fold is None else f", fold {cell.task.fold}"
    return f"{tasks} · {cell.task.backbone}{fold}, seed {cell.seed}"


def _cells(root: Node) -> Iterator[Cell]:
    return (chain.cell for node in root.walk() for chain in node.ends)


def _table(prices: Iterable[Price]) -> Table:
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


def _sums(planned: Plan, squares: Sequence[Bound], disk: str) -> list[str]:
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
    return [*lines, *counted(squares), *idle(squares)]


def _time(planned: Plan, sums: dict[str, Any]) -> str:
    seconds, flops = sums["seconds_to_pay"], sums["flops_to_pay"]
    if seconds is None and planned.given:
        return "unknown rate: what was given tells nothing of some task and model that is to be paid"
    if seconds is None:
        seen = "unknown rate: this store has seen no training of some task and model that is to be paid"
        return seen if flops is None else f"{seen}; {flops:.2g} operations, to be told in hours by --flops"
    told = f"about {spoken(seconds)} of training to pay"
    if planned.given:
        told += " on a device of the given rate"
    if planned.given and sums["seconds_naive"] is not None:
        told += f", {spoken(sums['seconds_naive'])} without sharing"
    return told


def _bounds(grid: Grid, sought: Sequence[Quest]) -> dict[str, Any]:
    return {
        "match": grid.budget.words if grid.budget else None,
        "find_cells_at_most": most(grid, sought) if sought else None,
    }


def _kept(store: Store, chains: Sequence[Chain]) -> dict[str, int | None]:
    from smc_eval.store.inventory import need

    return {"nets_kept": len(shared(chains)), "bytes_kept": need(store, chains)}


def _disk(store: Store, chains: Sequence[Chain]) -> str:
    """What a run would keep on disk."""
    kept = _kept(store, chains)
    nets = f"{kept['nets_kept']} nets kept where stages are shared"
    if kept["bytes_kept"] is None:
        return f"{nets}; how large is known once the store holds one"
    return f"{nets}, about {sized(kept['bytes_kept'])}; --keep results bounds it"


def spoken(seconds: float) -> str:
    """A length of time as one says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 3600:,.0f} h"
