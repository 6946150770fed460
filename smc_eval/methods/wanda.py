"""Wanda: one-shot pruning by weights and activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.one_shot import OneShotAfter
from smc_eval.pruner import Criterion, Probe, Pruner, masks
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.input_stats import Squares
    from smc_eval.sparse.tensors import Masks


class WandaScore(Criterion):
    """|w_ij| ||x_j||: weight times the norm of its input over all tokens. Sun et al. (2024), equation 1.

    A kernel of a convolution is a row over the unfolded inputs. A weight that no linear map uses, such as
    a lookup table, has inputs of norm 1, so its magnitude decides. By default saliencies are therefore
    compared within each output.
    """

    version: ClassVar[int] = 2  # padding counted, and convolutions and `x @ weight` were not seen

    batches: PositiveInt = 32
    """Training batches that are run forward."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """Magnitudes times input norms."""
        squares = self._squares(probe)
        return {name: squares.scaled(name) for name in probe.weights}

    def prune(self, probe: Probe, target: Target) -> Masks:
        """Masks of the highest saliencies. Under `rows`, the columns of `x @ weight` are its outputs."""
        squares = self._squares(probe)
        squares.refuse_pattern(target.pattern)
        saliency = {name: squares.scaled(name) for name in probe.weights}
        self._check(saliency, probe.weights, probe.shards)
        within = probe.masks
        if target.distribution != "rows":
            return masks(saliency, target, within=within, shards=probe.shards)
        by_output, allowed = (
            {name: squares.matrix(name, tensor) for name, tensor in tensors.items()}
            for tensors in (saliency, within)
        )
        chosen = masks(by_output, target, within=allowed, shards=probe.shards)
        return {name: squares.shaped(name, mask) for name, mask in chosen.items()}

    def _squares(self, probe: Probe) -> Squares:
        """The sums of squares of all inputs."""
        from smc_eval.sparse.input_stats import Squares

        squares = Squares(probe.weights, probe.weights.keys())
        probe.inputs(self.batches, squares)
        return squares


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
