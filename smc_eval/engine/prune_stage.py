"""Prune stage: the masks of a pruner, in rounds, each checked against what it was asked for."""

from __future__ import annotations

from smc_eval.engine.probe import NetProbe
from smc_eval.engine.progress import Watcher
from smc_eval.errors import SparsityError
from smc_eval.pruner import Pruner
from smc_eval.sparse.allocate import expected
from smc_eval.sparse.net import Net
from smc_eval.sparse.sight import refuse_blind
from smc_eval.sparse.units import unit_faults
from smc_eval.stages import Prune
from smc_eval.target import Target, level_text


def run_prune(stage: Prune, goal: Target, probe: NetProbe, watcher: Watcher) -> None:
    """Compute and set masks, in as many rounds of equal ratio as the stage has.

    Custom masks have no target; then `goal` is dense, and tells the scope.

    Raises:
        SparsityError: the pruner saw no input of most weights, although it looks at inputs.
    """
    net, usage, probe.reads_batches = probe.net, probe.usage, stage.by.reads_batches
    levels = round_targets(goal, net.density, stage.rounds)
    level = level_text(goal.pattern, f"{goal.sparsity:.4g}")
    watcher.stage(f"prune to {level}" if stage.to else "set custom masks", len(levels), 0)
    for number, to in enumerate(levels, 1):
        probe.set_masks(stage.by.prune(probe, to))
        watcher.step(number, None)
    for meter in probe.meters.values():
        usage.spend("prune", meter.spent(), meter.operations.uncounted)
    if probe.sight:
        unseen = probe.sight.unseen(net.shapes)
        refuse_blind(type(stage.by).__name__, unseen, net.shapes)
        usage.look(unseen, probe.sight.padded)


def check_count(net: Net, by: Pruner, to: Target) -> None:
    """Check that a pruner left as many weights, or whole units, as it was asked to.

    Raises:
        SparsityError: it did not.
    """
    if to.is_structured:
        words, broken = unit_faults(net.full_masks, net.units, to)
        words += [f"{to.pattern} that are pruned in part, in {broken[0]!r}"] if broken else []
        if words:
            raise SparsityError(f"{by.identity} made masks with {words[0]}")
        return
    wanted, left = expected(net.shapes, to), net.remaining_count
    if left != wanted:
        raise SparsityError(
            f"{by.identity} was asked to leave {wanted} weights (sparsity {to.sparsity:.6g}) and left {left}"
        )


def round_targets(goal: Target, density: float, count: int) -> list[Target]:
    """Targets that lead from a density to the goal in rounds of equal ratio; the goal is the last.

    Between two N:M patterns there may be no other, so there can be fewer rounds than `count`.
    """
    levels = [
        goal.at(1 - density * (goal.density / density) ** (number / count)) for number in range(1, count)
    ]
    sparser = [level for level in dict.fromkeys(levels) if 1 - density < level.sparsity < goal.sparsity]
    return [*sparser, goal]
