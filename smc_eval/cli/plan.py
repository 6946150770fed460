"""The verb `plan`: what a run would do, and what it would cost; touches no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from smc_eval.grid import Binder, Bound, Grid
from smc_eval.order import Order
from smc_eval.plan import Node, Plan, level, worded
from smc_eval.registry import registry
from smc_eval.task import Task

if TYPE_CHECKING:
    from rich.tree import Tree


def plan(order: Order) -> None:
    """Show the stages a run would go through, which are done already, and what is still to pay."""
    from smc_eval.engine.store import Store

    grid = Grid.of(order, registry())
    squares = Binder().bound(grid.cells())
    store = Store(Path(order.output))
    chains = [square.chain for square in squares if square.chain]
    planned = Plan.of(chains, store.finished, store.book.latest().values())
    unbound = [square for square in squares if not square.chain]
    if order.json_file:
        typer.echo(json.dumps(_json(planned, unbound), indent=1, allow_nan=False))
        return
    from rich.console import Console

    console = Console()
    for tree in _trees(planned):
        console.print(tree)
    for line in _sums(planned, unbound):
        console.print(line, markup=False, highlight=False)


def _json(planned: Plan, unbound: Iterable[Bound]) -> dict[str, Any]:
    return {
        "schema": 1,
        "totals": planned.totals(),
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

    alike: dict[tuple[str, ...], list[Node]] = {}
    for root in planned.roots:
        first = next(_tasks(root))
        alike.setdefault((first.card.name, first.backbone, *_lines(root, planned.scored)), []).append(root)
    trees = []
    for roots in alike.values():
        many = f"  and {len(roots) - 1} alike: other folds, seeds" if len(roots) > 1 else ""
        tree = Tree(Text(_owner(roots[0]) + many, style="bold"))
        branches = {roots[0].digest: tree}
        for node in roots[0].walk():
            for after in node.after:
                style = "" if after.todo else "dim"
                branches[after.digest] = branches[node.digest].add(
                    Text(_line(after, planned.scored), style=style)
                )
        trees.append(tree)
    return trees


def _lines(root: Node, scored: frozenset[str]) -> tuple[str, ...]:
    return tuple(f"{len(node.after)} {_line(node, scored)}" for node in root.walk() if node.stage)


def _line(node: Node, scored: frozenset[str]) -> str:
    """A stage in words, its state, and the cells that are scored after it."""
    assert node.stage is not None
    state = "to do" if node.todo else "done"
    names = [f"{chain.cell.method.card.name} {level(chain.cell.target)}" for chain in node.ends]
    ends = f"  → {', '.join(names)}" if names else ""
    known = " (scored)" if node.ends and all(chain.digest in scored for chain in node.ends) else ""
    return f"{worded(node.stage, node.steps)}  [{state}]{ends}{known}"


def _owner(root: Node) -> str:
    cell = next(chain.cell for node in root.walk() for chain in node.ends)
    fold = "" if cell.task.fold is None else f", fold {cell.task.fold}"
    return f"{cell.task.card.name} · {cell.task.backbone}{fold}, seed {cell.seed}"


def _tasks(root: Node) -> Iterator[Task]:
    return (chain.cell.task for node in root.walk() for chain in node.ends)


def _sums(planned: Plan, unbound: list[Bound]) -> list[str]:
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
        "unknown rate: this store has seen no training of some task and model that is to be paid"
        if planned.seconds is None
        else f"about {spoken(planned.seconds)} of training to pay",
    ]
    reasons = dict[str, list[str]]()
    for one in unbound:
        reasons.setdefault(str(one.error), []).append(one.cell.label)
    for reason, labels in reasons.items():
        lines.append(
            f"{len(labels)} cells cannot run ({labels[0]}{', …' if len(labels) > 1 else ''}): {reason}"
        )
    return lines


def spoken(seconds: float) -> str:
    """A length of time as one says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
