"""GraSP: single-shot pruning before training that keeps the gradient flowing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.snip import SNIP_BATCHES
from smc_eval.pruner import Criterion, Probe
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor


class GradientFlow(Criterion):
    """w * (H g): what the squared norm of the gradient loses, to first order, without the weight.

    Wang et al. (2020), equation 8, has S(-w) = -w * (H g), half the change of g^T g when w is taken
    away, and algorithm 1 removes the largest: saliency is -S. So weights stay that feed the gradient,
    and those go first whose removal would make it larger.

    g and H are of the same batches and without dropout, else H g would be no derivative of g^T g.
    Equation 8 has no temperature; one on the logits, as in some implementations, would need to know
    a task's answers, of which it tells only the loss.
    """

    batches: PositiveInt = SNIP_BATCHES
    """Training batches that gradient and Hessian are averaged over."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """A gradient and a Hessian-vector product a batch."""
        gradients, masks = probe.gradients(self.batches, dropout=False), probe.masks
        # what is gone already takes no part in the flow
        alive = {name: gradient.mul_(masks[name]) for name, gradient in gradients.items()}
        products = probe.products(alive, self.batches)
        return {name: products[name].mul_(weight) for name, weight in probe.weights.items()}


class Grasp(Method):
    """Drop the weights without which the gradient is largest, then train."""

    card: ClassVar[MethodCard] = MethodCard(
        name="grasp",
        summary="gradient signal preservation w (H g) before training, one shot",
        source="Wang, Zhang & Grosse (2020), arXiv:2002.07376, equation 8 and algorithm 1",
        when="before",
        distributions=("global", "uniform", "erk"),  # lamp squares saliencies, and these have a sign
    )
    batches: PositiveInt = SNIP_BATCHES
    """Training batches that gradient and Hessian are averaged over; few leave what does not occur
    in them with saliency zero."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune, train."""
        yield Prune(by=GradientFlow(batches=self.batches), to=target)
        yield Train()
