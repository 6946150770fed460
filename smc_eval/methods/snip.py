"""SNIP: one-shot pruning before training, by the effect of each weight on the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.one_shot import OneShotBefore
from smc_eval.pruner import Criterion, Probe, Pruner

if TYPE_CHECKING:
    from torch import Tensor

SNIP_BATCHES = 64
"""Enough to see most words of a benchmark's training data. With one batch of four problems, the embeddings
of all unseen words have saliency zero and are pruned first."""


class Sensitivity(Criterion):
    """|g * w|: derivative of the loss by the presence of a weight. Lee et al. (2019), equations 5 and 6.

    The paper divides by the sum over all weights, which does not change their order. The
    authors' code scores in evaluation mode, and its nets have no dropout. Gradients are averaged over the
    batches before the absolute value is taken.
    """

    version: ClassVar[int] = 3  # 2: gradients have no dropout; 3: at most one pass over the data
    shardable: ClassVar[bool] = True

    batches: PositiveInt = SNIP_BATCHES
    """Training batches that the gradient is averaged over; without dropout at most all, once."""
    dropout: bool = False
    """Whether the gradient has dropout, as in training."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """One forward and backward pass for each batch."""
        gradients = probe.gradients(self.batches, dropout=self.dropout)
        return {name: gradients[name].mul_(weight).abs_() for name, weight in probe.weights.items()}


class Snip(OneShotBefore):
    """Prune the weights with the least effect on the loss, then train."""

    card: ClassVar[MethodCard] = MethodCard(
        name="snip",
        summary="connection sensitivity |g w| before training, one shot",
        source="Lee, Ajanthan & Torr (2019), arXiv:1810.02340, equations 5 and 6",
        when="before",
        criterion="|g w|, g the mean gradient of the training loss",
        equals=(
            "mil-ad/snip 883c805, on the same weights and batch: at most 1 of 4,832 mask bits "
            "differs; it rounds the number of kept weights down. It scores one batch and draws "
            "weights anew for that, and so does not score those that are trained"
        ),
    )
    paper: ClassVar[Mapping[str, Any]] = {"batches": 1, "dropout": True}
    batches: PositiveInt = SNIP_BATCHES
    """Training batches that the gradient is averaged over; without dropout at most all, once. With few, the
    embeddings of unseen tokens have saliency zero and are pruned first."""
    dropout: bool = False
    """Whether the gradient has dropout, as in training. Published: it has none."""

    def pruner(self) -> Pruner:
        """Connection sensitivity."""
        return Sensitivity(batches=self.batches, dropout=self.dropout)
