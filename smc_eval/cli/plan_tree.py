"""The stages of a plan as trees on the screen, one for each start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from smc_eval.experiment.cell import Cell
from smc_eval.planning.plan import Plan, StageNode, describe_stage, describe_target
from smc_eval.reporting.printable import printable

if TYPE_CHECKING:
    from rich.tree import Tree


def stage_trees(plan: Plan) -> list[Tree]:
    """One tree for each start. Starts with equal stages, such as folds and seeds, share one."""
    from rich.text import Text
    from rich.tree import Tree

    groups: dict[tuple[str, ...], list[StageNode]] = {}
    for root in plan.roots:
        first = next(_cells(root)).task
        groups.setdefault((first.label, first.backbone, *_shape(root, plan.scored)), []).append(root)
    trees = []
    for roots in groups.values():
        more = f"  and {len(roots) - 1} more with other folds or seeds" if len(roots) > 1 else ""
        trees.append(Tree(Text(printable(start_label(roots[0]) + more), style="bold")))
        _grow(trees[-1], roots[0], plan.scored)
    return trees


def start_label(root: StageNode) -> str:
    """A start by its tasks, model, fold and seed."""
    cell = next(_cells(root))
    tasks = ", ".join(dict.fromkeys(other.task.label for other in _cells(root)))
    fold = "" if cell.task.fold is None else f", fold {cell.task.fold}"
    return f"{tasks} · {cell.task.backbone}{fold}, seed {cell.seed}"


def _grow(tree: Tree, root: StageNode, scored: frozenset[str]) -> None:
    """Add the stages below a start to its tree. Only forks indent, or long chains would leave the screen."""
    from rich.text import Text

    waiting = [(tree, node, "") for node in reversed(root.after)]
    while waiting:
        parent, first, prefix = waiting.pop()
        run = list(_run(first))
        style = "" if first.todo else "dim"
        child, last = parent.add(Text(printable(prefix + _line(run, scored)), style=style)), run[-1]
        single = len(last.after) == 1
        waiting += [
            (parent if single else child, node, "then " if single else "") for node in reversed(last.after)
        ]


def _shape(root: StageNode, scored: frozenset[str]) -> tuple[str, ...]:
    return tuple(f"{len(node.after)} {_line([node], scored)}" for node in root.walk() if node.stage)


def _run(node: StageNode) -> Iterator[StageNode]:
    """A node and those after it, up to a fork, a scored cell or a change between done and to do."""
    yield node
    while not node.ends and len(node.after) == 1 and node.after[0].todo == node.todo:
        node = node.after[0]
        yield node


def _line(run: list[StageNode], scored: frozenset[str]) -> str:
    """Some stages in words, their state, and the cells that end with them."""
    stages = ", ".join(describe_stage(node.stage, node.steps) for node in run if node.stage)
    ends = run[-1].ends
    several = len({chain.cell.task.card.name for chain in ends}) > 1  # tasks that share their nets
    cells = (f"{chain.cell.task.card.name} " * several + _cell_label(chain.cell) for chain in ends)
    names = f"  → {', '.join(cells)}" if ends else ""
    done = " (scored)" if ends and all(chain.digest in scored for chain in ends) else ""
    return f"{stages}  [{'to do' if run[0].todo else 'done'}]{names}{done}"


def _cell_label(cell: Cell) -> str:
    name = cell.method.label
    return name if cell.method.card.when in {"none", "custom"} else f"{name} {describe_target(cell.target)}"


def _cells(root: StageNode) -> Iterator[Cell]:
    return (chain.cell for node in root.walk() for chain in node.ends)
