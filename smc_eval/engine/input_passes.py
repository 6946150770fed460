"""Input passes: forward passes in which the inputs of weights are observed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from smc_eval.capabilities import real_tokens
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.sparse.inputs import InputObserver, InputWatch, Reducible, observing
from smc_eval.sparse.net import Net
from smc_eval.sparse.sight import Sight

Forward = Callable[[int, Callable[[], Any]], None]
"""Runs the batch of a number by calling a function, or a part of it."""


class InputPasses:
    """Forward passes over some examples, in batches without padding, without dropout."""

    def __init__(self, net: Net, batches: Batches, count: int, name: str, device: Device) -> None:
        """`count` batches of the recipe, sampled by `name`."""
        self.net, self.batches, self.device = net, batches, device
        self.places = batches.sample_unpadded(count, name)
        self.sight = Sight()
        """What was seen of inputs in all passes."""

    @torch.no_grad()
    def observe(
        self, weights: Mapping[str, Tensor], see: InputObserver, meter: FlopMeter, forward: Forward
    ) -> None:
        """Give the inputs of some weights to an observer, in passes over all batches."""
        ranks, numbers = self.device.ranks, range(len(self.places))
        own = numbers
        # the results of a plain function cannot be added up: each rank then runs all batches
        if shared := isinstance(see, Reducible) and ranks.size > 1:
            own = numbers[ranks.rank :: ranks.size]
        with (
            self.evaluating(),
            observing(self.net.model, weights, see) as watch,
            ranks.errors_shared(),
        ):
            for number in own:
                self._run(number, self.places[number], watch, meter, forward)
        self.sight.add(ranks.gather(watch.sight) if shared else [watch.sight])
        totals = [sum(self.batches.tokens(self.places[number]) for number in some) for some in (numbers, own)]
        meter.add_remote_tokens(totals[0] - totals[1])
        meter.dense_gradients(totals[0])
        if shared:
            assert isinstance(see, Reducible)
            keys = sorted({key for own_keys in ranks.gather(list(see.keys())) for key in own_keys})
            ranks.all_reduce(see.sum_at(key) for key in keys)

    @torch.no_grad()
    def attempt(
        self,
        places: Sequence[int],
        weights: Mapping[str, Tensor],
        see: InputObserver,
        meter: FlopMeter,
        forward: Forward,
    ) -> None:
        """Give inputs to an observer in a pass over one batch, on each rank; it adds nothing to `sight`."""
        with self.evaluating(), observing(self.net.model, weights, see) as watch:
            self._run(0, places, watch, meter, forward)
        meter.dense_gradients(self.batches.tokens(places))

    def _run(
        self, number: int, places: Sequence[int], watch: InputWatch, meter: FlopMeter, forward: Forward
    ) -> None:
        """Pass a batch through the net, or through a part of it."""
        batch = self.batches.batch(places)
        watch.real = real_tokens(self.batches.task, batch)
        with (
            meter.over(self.batches.tokens(places)),
            self.device.autocast(self.batches.recipe.precision),
        ):
            forward(number, lambda: self.batches.task.loss(self.net.model, batch))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within, the net is in evaluation mode. It has no gradients then and afterwards."""
        model, training = self.net.model, self.net.model.training
        model.train(mode=False)
        self.net.forget_gradients()
        try:
            yield
        finally:
            model.train(training)


def whole_pass(_: int, whole: Callable[[], Any]) -> None:
    """Pass a batch through the whole net."""
    whole()
