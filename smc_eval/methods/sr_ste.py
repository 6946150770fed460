"""SR-STE: train a dense net through its N:M projection, and pull pruned weights towards zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import masks
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView, Updater

if TYPE_CHECKING:
    from torch import Tensor


class SparseRefined(Updater):
    """Each forward pass uses the N largest of every M weights; the gradient is applied to all weights.

    Zhou et al. (2021). The weights W of the net stay dense. W' is their projection. The gradient of the loss
    at W' is that of W (straight through), and pruned weights get decay * W on top (sparse-refined):
    g(W') + decay * (1 - M) * W. The optimizer takes the sum, so Adam scales both terms.
    """

    title: ClassVar[str] = "the N:M projection of dense weights"
    soft: ClassVar[bool] = True
    shardable: ClassVar[bool] = True

    to: Target
    """The N:M pattern."""
    decay: float = Field(2e-4, ge=0, le=1)
    """Lambda: how strongly pruned weights are pulled towards zero. With 0 it is the plain straight-through
    estimator."""

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """No state: the masks follow from the weights."""
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the sparse-refined term to the gradients."""
        if self.decay:
            import torch

            from smc_eval.sparse.net import hidden

            grads, weights, gradients = view.grads, view.weights, {}
            for name, mask in view.masks.items():
                pruned = hidden(weights[name], ~mask)
                gradients[name] = torch.add(grads[name], pruned, alpha=self.decay, out=pruned)
            view.set_gradients(gradients)
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The projection of the weights of the next pass."""
        magnitude = {name: weight.abs() for name, weight in view.weights.items()}
        view.set_masks(masks(magnitude, self.to, shards=view.shards))
        return state

    def densities(self, steps: int, density: float) -> list[tuple[int, float]]:
        """The density of the pattern, from the first step on. The gradients are dense."""
        return [(-1, self.to.density)]


class SrSte(Method):
    """Train dense weights through their N:M projection, from the first step to the last.

    The paper defines it for N:M patterns alone, so free sparsity is refused. The authors group the weights of
    a convolution over its input channels; here, as for all methods, a group is M consecutive weights of a
    flattened row.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="sr-ste",
        summary="N:M in training: straight-through gradients, pruned weights decay",
        source="Zhou et al. (2021), arXiv:2102.04010",
        when="during",
        patterns=("n:m",),
        distribution="uniform",
        criterion="|w| in each group",
        equals="aojunzz/NM-sparsity a557d6b, over 60 steps of SGD and of AdamW at 2:4, 1:4 and 4:8: no mask "
        "bit differs, weights by at most 4e-7. In convolutions it groups over input channels",
    )
    decay: float = Field(2e-4, ge=0, le=1)
    """Lambda: how strongly pruned weights are pulled towards zero."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train under the projection."""
        yield Train(updater=SparseRefined(to=target, decay=self.decay))
