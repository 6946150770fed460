"""oBERT, the optimal BERT surgeon: second-order pruning by the empirical Fisher information."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

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

Mend = Literal["single", "joint"]


class Surgeon(Pruner):
    """Saliency w^2 / (2 [F^-1]_ii); then the remaining weights compensate for the pruned ones, Q.

    Kurtic et al. (2022), section 3. F is the damped empirical Fisher matrix of a block of consecutive
    weights. `mend="single"` is the published algorithm, that of the authors' code and tutorial: it adds up
    what each pruned weight alone asks for, -w_i / [F^-1]_ii F^-1 e_i, sets pruned weights to zero, and so
    ignores that they are correlated. `mend="joint"` solves for all that leave the block at once,
    -F^-1[:, Q] (F^-1[Q, Q])^-1 w_Q, the paper's formula for a group: the exact minimum for the quadratic of
    the block. Both have the same masks.

    Memory: the matrices take 8 `block` bytes for each weight, and an eighth of that to collect gradients;
    with blocks of 50, that is 450 bytes for each weight. They are computed in parts of at most `memory`,
    from the same gradients again. With p parts the gradients are computed up to 2 p - 1 times: once for
    each part to score the weights, and once to update them; the last part still has its matrices.
    Everything else takes 10 bytes for each weight and some 100 MiB.
    """

    version: ClassVar[int] = 2  # before, the update was joint, and gradients had dropout

    block: int = Field(ge=1, le=1024)
    """Consecutive weights in a block."""
    gradients: int = Field(ge=1)
    """Batches whose gradients give F."""
    damping: float = Field(gt=0)
    """Added to the diagonal of F."""
    mend: Mend
    """Which formula gives the remaining weights."""
    dropout: bool
    """Whether gradients are those of training."""
    memory: Annotated[int, Outside()] = Field(ge=0)
    """MiB that matrices can take at once; 0 computes some 10 MiB at a time."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        """Keep the weights whose removal costs most, and update them to compensate for the others."""
        from smc_eval.sparse.allocate import allocate
        from smc_eval.sparse.fisher import chunks, compensated, summed_updates

        mended_by = compensated if self.mend == "joint" else summed_updates
        weights, unpruned = probe.weights, probe.masks
        parts = chunks(
            {name: weight.shape for name, weight in weights.items()}, self.block, self.memory * MIB
        )
        saliency = {name: self._room(weight) for name, weight in weights.items()}
        matrices: list[Tensor] = []
        for part in parts:
            matrices.clear()  # free them before the next are computed
            matrices += self._matrices(part, probe, unpruned)
            for tile, f_GBB in zip(part, matrices, strict=True):
                tile.write(saliency[tile.name], self._costs(tile, f_GBB, probe, target))
        masks = allocate(saliency, target, within=unpruned, weights=weights)
        mended = {name: weight.clone() for name, weight in weights.items()}
        for part in reversed(parts):
            if any(
                bool((tile.read(unpruned[tile.name]) & ~tile.read(masks[tile.name])).any()) for tile in part
            ):
                matrices = matrices or self._matrices(part, probe, unpruned)
                for tile, f_GBB in zip(part, matrices, strict=True):
                    w_GB, stays_GB = tile.read(weights[tile.name]), tile.read(masks[tile.name])
                    tile.write(mended[tile.name], mended_by(tile.name, f_GBB, w_GB, stays_GB))
            matrices.clear()
        probe.mend(mended)  # last, because all gradients are those of the old weights
        return masks

    def _room(self, weight: Tensor) -> Tensor:
        """An empty tensor for the costs of a weight tensor."""
        return weight.new_empty(weight.shape)

    def _costs(self, tile: Tile, f_GBB: Tensor, probe: Probe, target: Target) -> Tensor:
        """What the removal of each weight of a tile costs, as [G, B]."""
        from smc_eval.sparse.fisher import removal_costs

        return removal_costs(tile.name, f_GBB, tile.read(probe.weights[tile.name]))

    def _matrices(self, part: Sequence[Tile], probe: Probe, unpruned: Tensors) -> list[Tensor]:
        """F of each tile of a part. Every call gives the same."""
        from smc_eval.sparse.fisher import fisher_blocks

        gradients = probe.each_gradient(self.gradients, dropout=self.dropout)
        return fisher_blocks(gradients, part, unpruned, self.damping)


class OptimalBertSurgeon(Method):
    """Train, prune by second-order information, then train on with the whole recipe; for each level."""

    card: ClassVar[MethodCard] = MethodCard(
        name="obert",
        summary="second-order pruning of the trained net, then the whole recipe again",
        source="Kurtic et al. (2022), arXiv:2203.07259, section 3; Fisher blocks: arXiv:2004.14340",
        when="after",
        criterion="w² / (2 [F⁻¹]ᵢᵢ), F the Fisher matrix of a block of weights",
        equals=(
            "neuralmagic/sparseml 1c04a01 (OBSPruningModifier): no mask bit of 5,950 differs, and "
            "no weight by more than 2e-8, if it computes in double precision. In single "
            "precision, as it does, 2 bits differ at its damping of 1e-7, and weights by up to a "
            "tenth of the largest"
        ),
    )

    block: int = Field(50, ge=1, le=1024)
    """Consecutive weights of a tensor that compensate for each other. 1 takes only the diagonal: no weight
    is updated."""
    gradients: int = Field(256, ge=1)
    """Batches whose gradients give the Fisher matrix. Take more than `block`, or the damping dominates.
    Published: 1024."""
    damping: float = Field(1e-7, gt=0)
    """Added to the diagonal of the Fisher matrix."""
    mend: Mend = "single"
    """How the remaining weights of a block change. `single`, as published, adds up the updates for each
    pruned weight alone; `joint` solves for all of them at once."""
    dropout: bool = False
    """Whether the gradients have dropout, as in training. Published: they have none."""
    rounds: int = Field(1, ge=1)
    """Number of prunings in each level, of the same ratio, each with a new Fisher matrix."""
    levels: int = Field(1, ge=1)
    """Number of levels of the same ratio, each followed by the whole recipe. SMC-Bench has one."""
    memory: Annotated[int, Outside()] = Field(4096, ge=16)
    """MiB that Fisher matrices can take at once: 9 x `block` bytes for each weight. A smaller limit costs
    more passes over the same batches and changes no result."""
    # SMC-Bench: the diagonal alone, from the batches of an epoch, 609 on CommonsenseQA, in training mode
    paper: ClassVar[Mapping[str, Any]] = {"block": 1, "gradients": 609, "dropout": True}

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train; then for each level prune, round by round, and train."""
        by = Surgeon(
            block=self.block,
            gradients=self.gradients,
            damping=self.damping,
            mend=self.mend,
            dropout=self.dropout,
            memory=self.memory,
        )
        yield from in_levels(by, target, self.rounds, self.levels)


def in_levels(by: Pruner, target: Target, rounds: int, levels: int) -> Iterator[Stage]:
    """Train; then for each of the levels of equal ratio prune, in rounds of equal ratio, and train."""
    yield Train()
    count, last, pruned = rounds * levels, 0.0, False
    for number in range(1, count + 1):
        to = target if number == count else target.at(1 - target.density ** (number / count))
        if number == count or to.sparsity > last:  # there may be no pattern between two
            yield Prune(by=by, to=to)
            last, pruned = to.sparsity, True
        if pruned and number % rounds == 0:
            yield Train()
            pruned = False
