"""GraSP: one-shot pruning before training that preserves the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.one_shot import OneShotBefore
from smc_eval.methods.snip import SNIP_BATCHES
from smc_eval.pruner import Criterion, Probe, Pruner
from smc_eval.spec import OmitDefault

if TYPE_CHECKING:
    from torch import Tensor


class GradientFlow(Criterion):
    """w * (H g): decrease of the squared gradient norm, to first order, when the weight is pruned.

    In Wang et al. (2020), equation 8, S(-w) = -w * (H g) is half the change of g^T g when w is removed.
    Algorithm 1 removes the largest S, so the saliency is -S. Weights that feed the gradient stay. Weights
    whose removal increases it are pruned first.

    g and H are computed from the same batches without dropout; otherwise H g would not be a derivative of
    g^T g.
    """

    version: ClassVar[int] = 2  # before, more batches than the data has were read again

    batches: PositiveInt = SNIP_BATCHES
    """Training batches that gradient and Hessian are averaged over; at most all, once."""
    per_class: Annotated[int | None, OmitDefault()] = Field(None, ge=1)
    """Examples of each class, instead of `batches`, where the task has classes."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """One gradient and one Hessian-vector product for each batch."""
        return self._at(probe, 1.0)

    def _at(self, probe: Probe, temperature: float) -> dict[str, Tensor]:
        gradients, masks = (
            probe.gradients(self.batches, dropout=False, temperature=temperature, per_class=self.per_class),
            probe.masks,
        )
        # pruned weights have no part in the gradient norm
        masked = {name: gradient.mul_(masks[name]) for name, gradient in gradients.items()}
        products = probe.products(masked, self.batches, temperature=temperature, per_class=self.per_class)
        return {name: products[name].mul_(weight) for name, weight in probe.weights.items()}


class SoftGradientFlow(GradientFlow):
    """w * (H g) of the loss at a temperature, which divides the logits. The authors' code has 200.

    Equation 8 has none. A high temperature makes all classes nearly equally likely, so that few confident
    examples do not decide.
    """

    needs_outputs: ClassVar[bool] = True

    temperature: float = Field(gt=0)
    """What the logits are divided by."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """One gradient and one Hessian-vector product for each batch."""
        return self._at(probe, self.temperature)


class Grasp(OneShotBefore):
    """Prune the weights whose removal increases the gradient norm most, then train.

    The defaults are those of the authors' code. Its classes are those of images; here proteins alone have
    such classes. The choices of a question have none, because an answer's place says nothing about another
    question's; nor have equations and translations. Their examples are drawn at random.
    """

    version: ClassVar[int] = 2  # before, there was no temperature, and no example was drawn by its class

    card: ClassVar[MethodCard] = MethodCard(
        name="grasp",
        summary="gradient signal preservation w (H g) before training, one shot",
        source="Wang, Zhang & Grosse (2020), arXiv:2002.07376, equation 8 and algorithm 1",
        when="before",
        distributions=("global", "uniform", "erk"),  # lamp needs saliencies of 0 or more
        criterion="w (H g), g and H of the loss at temperature T",
        equals=(
            "alecwangcq/GraSP f17d87a, T = 1 and T = 200, on the same weights and examples: at "
            "most 2 of 4,832 mask bits differ; it rounds the number of pruned weights down and "
            "keeps ties. It draws linear layers anew before it scores, and uses its net in "
            "training mode"
        ),
    )
    batches: PositiveInt = SNIP_BATCHES
    """Training batches that gradient and Hessian are averaged over, where the task has no classes; at most
    all, once. With few, the embeddings of unseen tokens have saliency zero."""
    temperature: float = Field(200.0, gt=0)
    """What the log-probabilities of the task are divided by. 1 is the loss of training; tasks without
    log-probabilities need it."""
    per_class: int | None = Field(10, ge=1)
    """Examples of each class, where the task has classes, instead of `batches`; `none` takes `batches`."""

    def pruner(self) -> Pruner:
        """Gradient flow."""
        options = {"batches": self.batches, "per_class": self.per_class}
        if self.temperature == 1:
            return GradientFlow.model_validate(options)
        return SoftGradientFlow.model_validate({**options, "temperature": self.temperature})
