"""CAP, correlation-aware pruning: blocks lose their weights one by one, each with the others updated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.obert import Surgeon, in_levels
from smc_eval.pruner import Probe
from smc_eval.spec import Outside
from smc_eval.stages import Stage
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.fisher import Tile


class GreedySurgeon(Surgeon):
    """Scores are the loss of a block up to the removal of a weight, when the cheapest always goes first.

    Kuznedelev et al. (2023). The saliency of `Surgeon` is that of a single removal from the full block:
    of two weights that stand in for each other both look cheap. Here the second is scored after the first
    has gone. The scores of all blocks are compared, so a block loses its first removals. The remaining
    weights become those of the trace: the best ones for the weights that are left, `mend="joint"`.

    Under N:M, groups lose weights in this order until they have lost enough. Where a block ends within a
    group, the scores of both blocks settle which of its weights go.

    Scores are in double precision, 4 bytes more for each weight than `Surgeon` takes.
    """

    def _room(self, weight: Tensor) -> Tensor:
        return weight.double()

    def _costs(self, tile: Tile, f_GBB: Tensor, probe: Probe, target: Target) -> Tensor:
        from smc_eval.sparse.elimination import elimination_costs, rooms

        weight, unpruned_GB = probe.weights[tile.name], tile.read(probe.masks[tile.name])
        limits = None
        if target.is_n_m:
            limits = rooms(tile, weight.shape, *target.group, unpruned_GB)
        return elimination_costs(tile.name, f_GBB, tile.read(weight), unpruned_GB, limits)


class CorrelationAware(Method):
    """Train, prune by second-order information one weight at a time, then train on; for each level.

    The published recipes lengthen and change the training after pruning, by augmentation and cyclic
    learning rates; here it is the recipe of the task, as for every method.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="cap",
        summary="second-order pruning, one weight of a block after the other, then the whole recipe again",
        source="Kuznedelev et al. (2023), CAP, arXiv:2210.09223",
        when="after",
        criterion="sum of w^2 / (2 [F^-1]_ii) over the removals of the block so far",
        equals="IST-DASLab/CAP f4cbe69 in double precision: scores to 1e-8, weights to 5e-7, all mask bits "
        "but one (its threshold prunes one weight more than asked). In its own single precision a damping of "
        "1e-7 is below the rounding of F^-1: 3 % of the bits differ in one case, others have scores of NaN",
    )

    block: int = Field(50, ge=1, le=1024)
    """Consecutive weights of a tensor that stand in for each other. Published: 50, and 192 for ViT. 1 takes
    only the diagonal."""
    gradients: int = Field(256, ge=1)
    """Batches whose gradients give the Fisher matrix, as many as `obert` takes. Published: 1024."""
    damping: float = Field(1e-7, gt=0)
    """Added to the diagonal of the Fisher matrix."""
    rounds: int = Field(1, ge=1)
    """Number of prunings in each level, of the same ratio, each with a new Fisher matrix."""
    levels: int = Field(1, ge=1)
    """Number of levels of the same ratio, each followed by the whole recipe."""
    memory: Annotated[int, Outside()] = Field(4096, ge=16)
    """MiB that Fisher matrices can take at once: 9 x `block` bytes for each weight. A smaller limit costs
    more passes over the same batches and changes no result."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train; then for each level prune, round by round, and train."""
        by = GreedySurgeon(
            block=self.block,
            gradients=self.gradients,
            damping=self.damping,
            mend="joint",
            dropout=False,
            memory=self.memory,
        )
        yield from in_levels(by, target, self.rounds, self.levels)
