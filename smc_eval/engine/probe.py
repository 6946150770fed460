"""The probe: a pruner's window on net and data, and the meter that counts what it costs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from smc_eval.engine.feed import Feed
from smc_eval.engine.tally import Tally
from smc_eval.engine.world import World
from smc_eval.errors import SparsityError
from smc_eval.sparse.net import Net


class NetProbe:
    """`smc_eval.pruner.Probe` over a net, its training data and a stage's own chance."""

    def __init__(self, net: Net, feed: Feed, name: str, tally: Tally, world: World) -> None:
        """`name` is the stage's digest: whatever is drawn is a function of it."""
        self._net, self._feed, self._name, self._tally, self._world = net, feed, name, tally, world
        self.generator: torch.Generator = world.generator(name)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return self._net.weights

    @property
    def masks(self) -> Mapping[str, Tensor]:
        return self._net.alive

    def gradients(self, batches: int) -> dict[str, Tensor]:
        """Mean over batches of the training loss's gradient, in train mode, in fp32 or the recipe's
        precision; masked weights have theirs too."""
        model, recipe = self._net.model, self._feed.recipe
        model.train()
        model.zero_grad(set_to_none=True)
        for batch in self._feed.sample(batches, self._name):
            with self._world.autocast(recipe.precision):
                loss = self._feed.task.loss(model, batch) / batches
            loss.backward()  # type: ignore[no-untyped-call]
            self._tally.scoring_passes += 1
        gradients = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad.detach().clone()
            for name, weight in self._net.parameters.items()
        }
        model.zero_grad(set_to_none=True)
        return gradients

    @torch.no_grad()
    def mend(self, weights: Mapping[str, Tensor]) -> None:
        parameters = self._net.parameters
        for name, value in weights.items():
            if name not in parameters or parameters[name].shape != value.shape:
                raise SparsityError(
                    f"a pruner mended {name!r}, no weight in scope of shape {tuple(value.shape)}"
                )
            parameters[name].copy_(value)
        self._net.hold()
