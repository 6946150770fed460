"""Random pruning, before and after training: the baseline that every method must beat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import Criterion, Probe
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor


class RandomSaliency(Criterion):
    """A uniform random number for each weight. Every tensor loses about the same share."""

    shardable: ClassVar[bool] = True

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """Numbers in [0, 1): the same on every device, and for every number of shards."""
        return {name: probe.shards.drawn(weight, probe.generator) for name, weight in probe.weights.items()}


class RandomBefore(Method):
    """Prune weights at random, then train."""

    card: ClassVar[MethodCard] = MethodCard(
        name="random-before",
        summary="random pruning before training",
        source="Liu et al. (2023), SMC-Bench, arXiv:2303.02141, section 3",
        when="before",
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune, train."""
        yield Prune(by=RandomSaliency(), to=target)
        yield Train()


class RandomAfter(Method):
    """Train, prune weights at random, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="random-after",
        summary="random pruning of the trained net, then the whole recipe again",
        source="Liu et al. (2023), SMC-Bench, arXiv:2303.02141, section 3",
        when="after",
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train, prune, train."""
        yield Train()
        yield Prune(by=RandomSaliency(), to=target)
        yield Train()
