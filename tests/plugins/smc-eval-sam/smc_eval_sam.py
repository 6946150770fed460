"""An optimizer for smc-eval: sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from smc_eval import Optimizer, OptimizerCard, hookimpl

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class SharpnessAware(Optimizer):
    """Steps with the gradient at the worst point near by, on a sphere around the weights."""

    card: ClassVar[OptimizerCard] = OptimizerCard(
        name="sam",
        summary="sharpness-aware minimisation: the gradient at the worst point near by",
        source="Foret et al. (2021), arXiv:2010.01412",
    )
    further_passes: ClassVar[int] = 1
    momenta: ClassVar[frozenset[str]] = frozenset({"momentum_buffer", "exp_avg"})
    shardable: ClassVar[bool] = True

    rho: float = Field(0.05, gt=0)
    """Distance of the worst point."""
    base: Literal["sgd", "adamw"] = "sgd"
    """The optimizer that steps."""

    def make(self, groups: Sequence[dict[str, Any]], recipe: Any) -> torch.optim.Optimizer:
        import torch

        if self.base == "sgd":
            return torch.optim.SGD(groups, momentum=recipe.momentum)
        return torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps)

    def perturb(
        self,
        weights: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        norm: Callable[[Mapping[str, Tensor]], Tensor],
    ) -> dict[str, Tensor]:
        scale = self.rho / norm(gradients).clamp_min(1e-12)
        return {name: gradient * scale for name, gradient in gradients.items()}


@hookimpl
def smc_eval_optimizers() -> list[type[Optimizer]]:
    return [SharpnessAware]
