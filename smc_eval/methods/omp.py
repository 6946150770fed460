"""One-shot magnitude pruning (OMP), before and after training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from smc_eval.card import MethodCard
from smc_eval.methods.one_shot import OneShotAfter, OneShotBefore
from smc_eval.pruner import Criterion, Probe, Pruner

if TYPE_CHECKING:
    from torch import Tensor


class Magnitude(Criterion):
    """|w|: the smallest weights are pruned. Han et al. (2015), section 3."""

    shardable: ClassVar[bool] = True
    reads_batches: ClassVar[bool] = False

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """Absolute values of the weights."""
        return {name: weight.abs() for name, weight in probe.weights.items()}


class MagnitudeBefore(OneShotBefore):
    """Prune the smallest weights of the untrained net, whether pretrained or random; then train."""

    card: ClassVar[MethodCard] = MethodCard(
        name="omp-before",
        summary="one-shot magnitude pruning before training",
        source="Han et al. (2015), arXiv:1506.02626; Liu et al. (2023), arXiv:2303.02141, section 3",
        when="before",
        patterns=("free", "n:m", "heads", "neurons"),
        criterion="|w|",
        equals=(
            "ganguli-lab/Synaptic-Flow 9dfa57a (Mag): at most 1 of 4,832 mask bits differs; it "
            "rounds the number of pruned weights down"
        ),
    )

    def pruner(self) -> Pruner:
        """Magnitude."""
        return Magnitude()


class MagnitudeAfter(OneShotAfter):
    """Train, prune the smallest weights, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="omp-after",
        summary="one-shot magnitude pruning of the trained net, then the whole recipe again",
        source="Han et al. (2015), arXiv:1506.02626; retrained as Renda et al. (2020), arXiv:2003.02389",
        when="after",
        patterns=("free", "n:m", "heads", "neurons"),
        criterion="|w| after training",
        equals=(
            "ganguli-lab/Synaptic-Flow 9dfa57a (Mag): at most 1 of 4,832 mask bits differs; it "
            "rounds the number of pruned weights down"
        ),
    )

    def pruner(self) -> Pruner:
        """Magnitude."""
        return Magnitude()
