"""oBERT, the optimal BERT surgeon: a block's Fisher information says who goes, and mends who stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import Probe, Pruner
from smc_eval.spec import Outside
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.fisher import Tile
    from smc_eval.sparse.tensors import Tensors

MIB = 1 << 20


class Surgeon(Pruner):
    """w^2 / (2 [F^-1]_ii) says who goes; w - F^-1[:, Q] (F^-1[Q, Q])^-1 w_Q is what becomes of the rest.

    Kurtic et al. (2022), section 3, the first for a weight, the second for a group: F is the damped
    empirical Fisher matrix of a block of consecutive weights, Q all that goes from the block.

    In memory: the matrices take 8 `block` bytes a weight and an eighth of that to gather gradients, 450
    bytes a weight in blocks of 50. They are made part by part, no part above `memory`, from the same
    gradients again: with p parts these are computed up to 2 p - 1 times, first to find who goes, then to
    mend who stays, for which the last part's matrices are still there. All other needs are 10 bytes a
    weight and some 100 MiB.
    """

    block: int = Field(ge=1, le=1024)
    """Consecutive weights of a block."""
    gradients: int = Field(ge=1)
    """Batches whose gradients make F."""
    damping: float = Field(gt=0)
    """Added to F's diagonal."""
    memory: Annotated[int, Outside()] = Field(ge=0)
    """MiB that matrices may take at once; 0 makes them some 10 MiB at a time."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        """Keep the weights whose loss would cost most, and mend them for those that go."""
        from smc_eval.sparse.allocate import allocate
        from smc_eval.sparse.fisher import chunks, made_up, removal_costs

        weights, alive = probe.weights, probe.masks
        parts = chunks(
            {name: weight.shape for name, weight in weights.items()}, self.block, self.memory * MIB
        )
        saliency = {name: weight.new_empty(weight.shape) for name, weight in weights.items()}
        matrices: list[Tensor] = []
        for part in parts:
            matrices.clear()  # before the next are made
            matrices += self._matrices(part, probe, alive)
            for tile, f_GBB in zip(part, matrices, strict=True):
                tile.put(saliency[tile.name], removal_costs(tile.name, f_GBB, tile.cut(weights[tile.name])))
        masks = allocate(saliency, target, within=alive)
        mended = {name: weight.clone() for name, weight in weights.items()}
        for part in reversed(parts):
            if any(bool((tile.cut(alive[tile.name]) & ~tile.cut(masks[tile.name])).any()) for tile in part):
                matrices = matrices or self._matrices(part, probe, alive)
                for tile, f_GBB in zip(part, matrices, strict=True):
                    w_GB, stays_GB = tile.cut(weights[tile.name]), tile.cut(masks[tile.name])
                    tile.put(mended[tile.name], made_up(tile.name, f_GBB, w_GB, stays_GB))
            matrices.clear()
        probe.mend(mended)  # only now, as every gradient is that of the weights as they were
        return masks

    def _matrices(self, part: Sequence[Tile], probe: Probe, alive: Tensors) -> list[Tensor]:
        """F of each tile of a part; the same whenever it is asked for."""
        from smc_eval.sparse.fisher import fishers

        return fishers(probe.each_gradient(self.gradients), part, alive, self.damping)


class OptimalBertSurgeon(Method):
    """Train, prune by second-order information, train again; in levels, the same for each."""

    card: ClassVar[MethodCard] = MethodCard(
        name="obert",
        summary="second-order pruning of the trained net, survivors mended, then the whole recipe again",
        source="Kurtic et al. (2022), arXiv:2203.07259, section 3; Fisher blocks: arXiv:2004.14340",
        when="after",
    )
    # SMC-Bench: the diagonal alone, from the batches of an epoch, 609 on CommonsenseQA
    paper: ClassVar[Mapping[str, Any]] = {"block": 1, "gradients": 609}

    block: int = Field(50, ge=1, le=1024)
    """Consecutive weights of a tensor that make up for each other; 1 takes the diagonal alone, so that
    nothing makes up for anything."""
    gradients: int = Field(256, ge=1)
    """Batches whose gradients make the Fisher matrix; more than `block`, or it knows little but the
    damping. Published: 1024."""
    damping: float = Field(1e-7, gt=0)
    """Added to the diagonal of the Fisher matrix."""
    rounds: int = Field(1, ge=1)
    """Reach each level in so many rounds of equal ratio, with a new Fisher matrix for each."""
    levels: int = Field(1, ge=1)
    """Reach the target in so many levels of equal ratio, and train with the whole recipe after each.
    SMC-Bench has one."""
    memory: Annotated[int, Outside()] = Field(4096, ge=16)
    """MiB that Fisher matrices may take at once, 9 x `block` bytes a weight; what does not fit costs
    further passes over the same batches, and changes no number."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train; then for each level prune, round by round, and train."""
        by = Surgeon(block=self.block, gradients=self.gradients, damping=self.damping, memory=self.memory)
        yield Train()
        rounds, last, pruned = self.rounds * self.levels, 0.0, False
        for number in range(1, rounds + 1):
            to = target if number == rounds else target.at(1 - target.density ** (number / rounds))
            if number == rounds or to.sparsity > last:  # between two N:M patterns there may be none
                yield Prune(by=by, to=to)
                last, pruned = to.sparsity, True
            if pruned and number % self.rounds == 0:
                yield Train()
                pruned = False
