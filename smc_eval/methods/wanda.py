"""Wanda: weights by the size of what they multiply."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import Criterion, Probe
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor


class WandaScore(Criterion):
    """|w_ij| ||x_j||: a weight and the norm of its input over all rows. Sun et al. (2024), equation 1.

    A weight that no linear map multiplies, a lookup table say, has inputs of norm 1: its magnitude
    decides. That is why norms are compared within an output unless the user says otherwise.
    """

    batches: PositiveInt = 32
    """Training batches that are run forward."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """Magnitudes times norms of inputs."""
        from smc_eval.sparse.input_stats import Squares

        squares = Squares(probe.weights, probe.weights.keys())
        probe.inputs(self.batches, squares)
        return {name: squares.scaled(name) for name in probe.weights}


class Wanda(Method):
    """Train, drop the weights that carry least to each output, train again with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="wanda",
        summary="magnitude times the norm of the input, compared within each output; then trained again",
        source="Sun et al. (2024), arXiv:2306.11695, equation 1",
        when="after",
        distribution="rows",
    )
    batches: PositiveInt = 32
    """Training batches that are run forward to see inputs: 128 examples at 4 a batch, as published."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train, prune, train."""
        yield Train()
        yield Prune(by=WandaScore(batches=self.batches), to=target)
        yield Train()
