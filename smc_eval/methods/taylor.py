"""Taylor: heads or neurons are pruned whole, by the effect on the loss of taking each away."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.one_shot import OneShotAfter
from smc_eval.pruner import Probe, Pruner
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.tensors import Masks

Normalization = Literal["layer", "none"]


class UnitSensitivity(Pruner):
    """The mean over batches of |dL/dg_u|, where a gate g_u = 1 multiplies the output of unit u.

    Michel, Levy & Neubig (2019) for heads; Molchanov et al. (2017) for neurons. The next map reads the unit's
    output, so the derivative by its gate is the sum of w * dL/dw over the columns that the unit has in that
    map. It is the first-order change of the loss if the unit goes. Gradients are those of evaluation, without
    dropout. The absolute value is taken for each batch; with `size=1`, for each example, as published.
    """

    batches: PositiveInt
    """Batches whose absolute derivatives are averaged."""
    size: PositiveInt | None
    """Examples in a batch; None takes as many as the recipe."""
    normalize: Normalization
    """`layer` divides the scores of a layer by their norm, as published."""

    def prune(self, probe: Probe, target: Target) -> Masks:
        """Masks of the units with the highest scores. Pruned units stay pruned."""
        from smc_eval.sparse.units import kept_units, masks_of, units_left

        units, weights = probe.units, probe.weights
        totals: dict[str, Tensor] = {}
        for gradients in probe.each_gradient(self.batches, self.size, dropout=False):
            for layer in units:
                reader = layer.parts[0]
                product = (weights[reader.name] * gradients[reader.name]).double()
                change = reader.of(product, layer.count).flatten(1).sum(1).abs()
                totals[layer.name] = totals.get(layer.name, 0) + change / self.batches
        if self.normalize == "layer":
            totals = {name: score / score.norm().clamp_min(1e-300) for name, score in totals.items()}
        kept = kept_units(totals, target, units, units_left(probe.masks, units))
        return masks_of(kept, units, weights)


class Taylor(OneShotAfter):
    """Train, take away the heads or neurons whose loss costs least, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="taylor",
        summary="change of the loss by each head or neuron of the trained net, then the whole recipe again",
        source="Michel, Levy & Neubig (2019), arXiv:1905.10650; Molchanov et al. (2017), arXiv:1611.06440",
        when="after",
        patterns=("heads", "neurons"),
        distributions=("global", "uniform"),
        criterion="mean |dL/dg| of a gate g on each head or neuron",
    )
    batches: PositiveInt = 64
    """Batches whose absolute derivatives are averaged."""
    size: PositiveInt | None = None
    """Examples in a batch; `none` takes as many as the recipe. Published: 1."""
    normalize: Normalization = "layer"
    """`layer` divides the scores of a layer by their norm, as published; `none` compares them as they are."""

    def pruner(self) -> Pruner:
        """The derivative by the gate of each unit."""
        return UnitSensitivity(batches=self.batches, size=self.size, normalize=self.normalize)
