"""SNIP: single-shot pruning before training, by how far the loss moves when a weight is taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import Criterion, Probe
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

SNIP_BATCHES = 64
"""Enough to meet most words of a benchmark's training data. With one batch of four problems every
embedding row that does not occur has saliency zero and goes first, whatever it is worth."""


class Sensitivity(Criterion):
    """|g * w|, the loss's derivative by a weight's being there. Lee et al. (2019), equations 5 and 6.

    The paper divides by the sum over all weights, which changes nothing in their order. Gradients
    are those of training, dropout and all, averaged over the batches before the absolute value.
    """

    shardable: ClassVar[bool] = True

    batches: PositiveInt = SNIP_BATCHES
    """Training batches that the gradient is averaged over."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """One forward and backward pass a batch."""
        gradients = probe.gradients(self.batches)
        return {name: gradients[name].mul_(weight).abs_() for name, weight in probe.weights.items()}


class Snip(Method):
    """Drop the weights that the loss misses least, then train."""

    card: ClassVar[MethodCard] = MethodCard(
        name="snip",
        summary="connection sensitivity |g w| before training, one shot",
        source="Lee, Ajanthan & Torr (2019), arXiv:1810.02340, equations 5 and 6",
        when="before",
    )
    paper: ClassVar[Mapping[str, Any]] = {"batches": 1}
    batches: PositiveInt = SNIP_BATCHES
    """Training batches that the gradient is averaged over; few leave what does not occur in them
    without a saliency, so that it goes first."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune, train."""
        yield Prune(by=Sensitivity(batches=self.batches), to=target)
        yield Train()
