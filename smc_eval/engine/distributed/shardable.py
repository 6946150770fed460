"""By rows: which cells ranks can carry out that hold rows of a net alone, and why others cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smc_eval.capabilities import trained_as
from smc_eval.errors import UsageError
from smc_eval.experiment.cell import Chain
from smc_eval.sparse.allocate import BY_ROWS
from smc_eval.stages import Prune, Stage, Train


def refuse_unshardable(chains: Iterable[Chain]) -> None:
    """Refuse what a sharded net cannot do, before anything runs.

    Raises:
        UsageError: names the first cell, what of it needs whole tensors, and what to do.
    """
    for chain in chains:
        for fault in unshardable_parts(chain):
            raise UsageError(
                f"--shard cannot carry out {chain.cell.label}: {fault}; leave out one of the two"
            )


def unshardable_parts(chain: Chain) -> Iterator[str]:
    """What of a cell needs more of a net than its rows, in plain words."""
    cell = chain.cell
    if not trained_as(cell.task).only_calls_model:
        yield f"task {cell.task.card.name!r} uses parts of its net beside calling it, which gather no rows"
    for link in chain.links:
        yield from _of(link.stage)
    target = cell.target
    if target.sparsity and target.pattern == "free" and target.distribution not in BY_ROWS:
        yield f"spread {target.distribution!r} needs whole tensors; these do not: {', '.join(BY_ROWS)}"
    if cell.task.recipe.precision == "fp16":
        yield "precision fp16 scales losses by what one rank alone sees overflow; bf16 and fp32 need no scale"


def _of(stage: Stage) -> Iterator[str]:
    match stage:
        case Prune(by=by) if not by.shardable:
            yield f"{type(by).__name__} decides masks from whole tensors, inputs or outputs"
        case Train(updater=updater) if updater and not updater.shardable:
            yield f"{type(updater).__name__} decides masks from whole tensors"
        case Train(distil=distil) if distil:
            yield "it learns from another net, which would not be sharded"
