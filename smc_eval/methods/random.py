"""Random pruning, before and after training: the baseline that every method must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from smc_eval.card import MethodCard
from smc_eval.methods.one_shot import OneShotAfter, OneShotBefore
from smc_eval.pruner import Criterion, Probe, Pruner

if TYPE_CHECKING:
    from torch import Tensor


class RandomSaliency(Criterion):
    """A uniform random number for each weight. Every tensor loses about the same share."""

    shardable: ClassVar[bool] = True
    reads_batches: ClassVar[bool] = False

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """Numbers in [0, 1): the same on every device, and for every number of shards."""
        return {name: probe.shards.drawn(weight, probe.generator) for name, weight in probe.weights.items()}


class RandomBefore(OneShotBefore):
    """Prune weights at random, then train."""

    card: ClassVar[MethodCard] = MethodCard(
        name="random-before",
        summary="random pruning before training",
        source="Liu et al. (2023), SMC-Bench, arXiv:2303.02141, section 3",
        when="before",
        patterns=("free", "n:m", "heads", "neurons"),
        criterion="a uniform random number",
    )

    def pruner(self) -> Pruner:
        """Random saliency."""
        return RandomSaliency()


class RandomAfter(OneShotAfter):
    """Train, prune weights at random, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="random-after",
        summary="random pruning of the trained net, then the whole recipe again",
        source="Liu et al. (2023), SMC-Bench, arXiv:2303.02141, section 3",
        when="after",
        patterns=("free", "n:m", "heads", "neurons"),
        criterion="a uniform random number",
    )

    def pruner(self) -> Pruner:
        """Random saliency."""
        return RandomSaliency()
