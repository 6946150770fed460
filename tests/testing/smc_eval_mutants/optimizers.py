"""Optimizers that are wrong in one way each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from smc_eval.optimizer import Optimizer, OptimizerCard
from smc_eval.recipe import Recipe

COUNTER = itertools.count(1)


class Descent(torch.optim.Optimizer):
    """Gradient descent, with a change of each gradient."""

    def __init__(self, groups: Any, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(groups, {})
        self.change = change

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Go down the changed gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.sub_(self.change(weight, weight.grad), alpha=group["lr"])


def card_of(name: str) -> OptimizerCard:
    """The card of an optimizer of the tests."""
    return OptimizerCard(name=name, summary=name, source="none")


class HidesItsMomentum(Optimizer):
    """Keeps its momentum in a list of its own, so no checkpoint has it and no mask clears it."""

    card: ClassVar[OptimizerCard] = card_of("hides-its-momentum")

    def make(self, groups: Any, recipe: Recipe) -> torch.optim.Optimizer:
        hidden: dict[int, Tensor] = {}

        def change(weight: Tensor, gradient: Tensor) -> Tensor:
            hidden[id(weight)] = 0.9 * hidden.get(id(weight), torch.zeros_like(gradient)) + gradient
            return hidden[id(weight)]

        return Descent(groups, change)


class DrawsNoise(Optimizer):
    """Adds noise that no seed decides."""

    card: ClassVar[OptimizerCard] = card_of("draws-noise")

    def make(self, groups: Any, recipe: Recipe) -> torch.optim.Optimizer:
        generator = torch.Generator()

        def change(weight: Tensor, gradient: Tensor) -> Tensor:
            generator.manual_seed(next(COUNTER))
            return gradient + 0.01 * torch.randn(gradient.shape, generator=generator)

        return Descent(groups, change)


class TakesNoSecondPass(Optimizer):
    """Says that it takes a second pass, and moves no weight for it."""

    card: ClassVar[OptimizerCard] = card_of("takes-no-second-pass")
    further_passes: ClassVar[int] = 1

    def make(self, groups: Any, recipe: Recipe) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=recipe.momentum)

    def perturb(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], norm: Any) -> Any:
        return {name: gradient[:1] for name, gradient in gradients.items()}
