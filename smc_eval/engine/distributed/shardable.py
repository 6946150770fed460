"""Shardable cells: which cells can run with their nets sharded by rows, and why others cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smc_eval.capabilities import trained_as
from smc_eval.errors import UsageError
from smc_eval.experiment.cell import Chain
from smc_eval.sparse.allocate import SHARDABLE_DISTRIBUTIONS
from smc_eval.stages import Prune, Stage, Train


def refuse_unshardable(chains: Iterable[Chain]) -> None:
    """Refuse cells that cannot be sharded, before anything runs.

    Raises:
        UsageError: names the first cell, the part that needs whole tensors, and the remedy.
    """
    for chain in chains:
        for reason in unshardable_parts(chain):
            raise UsageError(f"--shard cannot run {chain.cell.label}: {reason}; leave out one of the two")


def unshardable_parts(chain: Chain) -> Iterator[str]:
    """A reason for each part of a cell that needs more of a net than its rows."""
    cell = chain.cell
    if not trained_as(cell.task).only_calls_model:
        yield f"task {cell.task.card.name!r} uses parts of its net directly, which gather no rows"
    for link in chain.links:
        yield from _of_stage(link.stage)
    target = cell.target
    if target.is_structured:
        yield f"pattern {target.pattern!r} prunes rows with columns, so it needs whole tensors"
    if target.sparsity and target.pattern == "free" and target.distribution not in SHARDABLE_DISTRIBUTIONS:
        names = ", ".join(SHARDABLE_DISTRIBUTIONS)
        yield f"distribution {target.distribution!r} needs whole tensors; these do not: {names}"
    if not (chosen := cell.task.recipe.chosen_optimizer).shardable:
        yield f"optimizer {chosen.label!r} works on whole tensors"
    if cell.task.recipe.precision == "fp16":
        yield "precision fp16 needs a loss scale, which each rank would choose alone; bf16 and fp32 need none"


def _of_stage(stage: Stage) -> Iterator[str]:
    match stage:
        case Prune(by=by) if not by.shardable:
            yield f"{type(by).__name__} decides masks from whole tensors, inputs or outputs"
        case Train(updater=updater) if updater and not updater.shardable:
            yield f"{type(updater).__name__} decides masks from whole tensors"
        case Train(distil=distil) if distil:
            yield "it learns from another net, which would not be sharded"
