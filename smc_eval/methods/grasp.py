"""GraSP: one-shot pruning before training that preserves the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.one_shot import OneShotBefore
from smc_eval.methods.snip import SNIP_BATCHES
from smc_eval.pruner import Criterion, Probe, Pruner

if TYPE_CHECKING:
    from torch import Tensor


class GradientFlow(Criterion):
    """w * (H g): decrease of the squared gradient norm, to first order, when the weight is pruned.

    In Wang et al. (2020), equation 8, S(-w) = -w * (H g) is half the change of g^T g when w is removed.
    Algorithm 1 removes the largest S, so the saliency is -S. Weights that feed the gradient stay. Weights
    whose removal increases it are pruned first.

    g and H are computed from the same batches without dropout; otherwise H g would not be a derivative of
    g^T g. Equation 8 has no temperature. Some implementations have one on the logits, but a task need not
    have logits.
    """

    batches: PositiveInt = SNIP_BATCHES
    """Training batches that gradient and Hessian are averaged over."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """One gradient and one Hessian-vector product for each batch."""
        gradients, masks = probe.gradients(self.batches, dropout=False), probe.masks
        # pruned weights have no part in the gradient norm
        masked = {name: gradient.mul_(masks[name]) for name, gradient in gradients.items()}
        products = probe.products(masked, self.batches)
        return {name: products[name].mul_(weight) for name, weight in probe.weights.items()}


class Grasp(OneShotBefore):
    """Prune the weights whose removal increases the gradient norm most, then train."""

    card: ClassVar[MethodCard] = MethodCard(
        name="grasp",
        summary="gradient signal preservation w (H g) before training, one shot",
        source="Wang, Zhang & Grosse (2020), arXiv:2002.07376, equation 8 and algorithm 1",
        when="before",
        distributions=("global", "uniform", "erk"),  # lamp needs saliencies of 0 or more
    )
    batches: PositiveInt = SNIP_BATCHES
    """Training batches that gradient and Hessian are averaged over. With few, the embeddings of unseen tokens
    have saliency zero."""

    def pruner(self) -> Pruner:
        """Gradient flow."""
        return GradientFlow(batches=self.batches)
