"""Wanda: one-shot pruning by weights and activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.one_shot import OneShotAfter
from smc_eval.pruner import Criterion, Probe, Pruner

if TYPE_CHECKING:
    from torch import Tensor


class WandaScore(Criterion):
    """|w_ij| ||x_j||: weight times the norm of its input over all rows. Sun et al. (2024), equation 1.

    A weight that no linear map uses, such as a lookup table, has inputs of norm 1, so its magnitude
    decides. By default saliencies are therefore compared within each output.
    """

    batches: PositiveInt = 32
    """Training batches that are run forward."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """Magnitudes times input norms."""
        from smc_eval.sparse.input_stats import Squares

        squares = Squares(probe.weights, probe.weights.keys())
        probe.inputs(self.batches, squares)
        return {name: squares.scaled(name) for name in probe.weights}


class Wanda(OneShotAfter):
    """Train, prune the weights that contribute least to each output, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="wanda",
        summary="magnitude times input norm of the trained net, per output row, then the whole recipe again",
        source="Sun et al. (2024), arXiv:2306.11695, equation 1",
        when="after",
        distribution="rows",
    )
    batches: PositiveInt = 32
    """Training batches that are run forward: with 4 examples a batch, 128 examples as published."""

    def pruner(self) -> Pruner:
        """Magnitude times input norm."""
        return WandaScore(batches=self.batches)
