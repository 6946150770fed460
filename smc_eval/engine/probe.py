"""The probe: a pruner's window on net and data, and the meter that counts what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from smc_eval.capabilities import HasOutputs
from smc_eval.engine.batches import Batches, Passes
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.usage import Usage
from smc_eval.errors import SparsityError
from smc_eval.sparse.flow import flow
from smc_eval.sparse.inputs import InputObserver, Reducible, observing
from smc_eval.sparse.net import Net
from smc_eval.sparse.shard_group import ShardGroup
from smc_eval.spec import digest


class NetProbe:
    """`smc_eval.pruner.Probe` over a net, its training data and a stage's own chance."""

    def __init__(self, net: Net, feed: Batches, name: str, usage: Usage, device: Device) -> None:
        """`name` is the stage's digest: whatever is drawn is a function of it."""
        self._net, self._batches, self._name, self._usage, self._device = net, feed, name, usage, device
        self.generator: torch.Generator = device.generator(name)
        self.meters: dict[str, FlopMeter] = {}
        """What its passes take, by what they are for."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return self._net.weights

    @property
    def masks(self) -> Mapping[str, Tensor]:
        return self._net.full_masks

    @property
    def shards(self) -> ShardGroup:
        return self._net.shards

    def gradients(self, batches: int, *, dropout: bool = True) -> dict[str, Tensor]:
        with self._scoring(dropout=dropout):
            for passes in self._batches.shared(batches, self._name):
                self._make("batches", passes, lambda batch, share: self._backward(batch, share / batches))
            return {name: gradient.clone() for name, gradient in self._net.summed().items()}

    def each_gradient(self, batches: int, size: int | None = None) -> Iterator[Mapping[str, Tensor]]:
        self._device.seed(digest(self._name, "each gradient"))  # dropout too is the same when asked again
        with self._scoring(dropout=True):
            for passes in self._batches.shared(batches, self._name, size):
                self._net.forget_gradients()
                self._make(f"batches of {size}", passes, self._backward)
                yield self._net.summed()

    def products(self, vectors: Mapping[str, Tensor], batches: int) -> dict[str, Tensor]:
        # what is quick for one gradient often has no second: fused attention, cudnn's recurrence
        with (
            self._scoring(dropout=False),
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.cudnn.flags(enabled=False),
        ):
            for passes in self._batches.shared(batches, self._name, whole=True):
                self._make("products", passes, lambda b, share: self._twice(b, share, batches, vectors))
                self._usage.scoring_passes += passes.count  # two of each
            return {name: gradient.clone() for name, gradient in self._net.summed().items()}

    @torch.no_grad()
    def inputs(self, batches: int, see: InputObserver) -> None:
        model, ranks = self._net.model, self._device.ranks
        # what a plain function makes of inputs cannot be added up: then each rank shows it all batches
        feed = self._batches.dealt if isinstance(see, Reducible) else self._batches.sample
        with self._scoring(dropout=False), observing(model, self._net.weights, see), ranks.together():
            for batch in feed(batches, self._name):
                with self._metered("inputs"), self._device.autocast(self._batches.recipe.precision):
                    self._batches.task.loss(model, batch)
        self._usage.scoring_passes += batches
        if isinstance(see, Reducible) and ranks.size > 1:
            self._meter("inputs").elsewhere(batches - len(range(ranks.rank, batches, ranks.size)))
            keys = sorted({key for seen in ranks.gather(list(see.keys())) for key in seen})
            ranks.add(see.sum_at(key) for key in keys)

    def flow(self, batches: int) -> dict[str, Tensor]:
        weights = self._net.weights
        flows: dict[str, Tensor] = {}
        for batch in self._batches.sample(batches, self._name):
            with self._metered("flow"):
                found = flow(self._net.model, weights, partial(self._outputs, batch))
            self._usage.scoring_passes += 1
            flows |= {name: flows.get(name, 0) + values for name, values in found.items()}
            if flows.keys() == weights.keys():
                break
        return {name: flows.get(name, torch.zeros_like(weight)) for name, weight in weights.items()}

    def _outputs(self, batch: Any, model: torch.nn.Module) -> Tensor:
        task = self._batches.task
        assert isinstance(task, HasOutputs)  # or the cell would have been refused
        return task.loss_and_outputs(model, batch)[1]

    @contextmanager
    def _scoring(self, *, dropout: bool) -> Iterator[None]:
        """Within, gradients gather on the net; it is left without any and in the mode it was in."""
        model, training = self._net.model, self._net.model.training
        model.train(dropout)
        self._net.forget_gradients()
        try:
            yield
        finally:
            self._net.forget_gradients()
            model.train(training)

    def _make(self, kind: str, passes: Passes, act: Callable[[Any, float], None]) -> None:
        """Make this rank's passes over a batch, and count those of all."""
        own = passes.own / passes.tokens
        with self._metered(kind, own), self._device.ranks.together():
            for batch, share in passes:
                act(batch, share)
        self._usage.scoring_passes += passes.count

    def _backward(self, batch: Any, share: float) -> None:
        """Gradients of a share of a loss gather on the net."""
        with self._device.autocast(self._batches.recipe.precision):
            loss = self._batches.task.loss(self._net.model, batch) * share
        loss.backward()  # type: ignore[no-untyped-call]

    def _twice(self, batch: Any, share: float, batches: int, vectors: Mapping[str, Tensor]) -> None:
        """Gradients of a share of the gradient's product with the vectors gather on the net."""
        named = self._net.parameters
        loss = self._batches.task.loss(self._net.model, batch) * share / batches
        first: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss, list(named.values()), create_graph=True, allow_unused=True
        )
        along = [
            (gradient * vectors[name]).sum()
            for name, gradient in zip(named, first, strict=True)
            if gradient is not None and gradient.requires_grad
        ]
        if along:
            torch.stack(along).sum().backward()  # type: ignore[no-untyped-call]

    @contextmanager
    def _metered(self, kind: str, own: float = 1.0) -> Iterator[None]:
        """Within are the passes over a batch, of which this rank has its own share; gradients are wanted of
        masked weights too."""
        meter = self._meter(kind)
        with meter.over(own):
            yield
        meter.elsewhere(1 - own)
        meter.dense_gradients(1.0)

    def _meter(self, kind: str) -> FlopMeter:
        if kind not in self.meters:
            self.meters[kind] = FlopMeter(self._net)
        return self.meters[kind]

    @torch.no_grad()
    def mend(self, weights: Mapping[str, Tensor]) -> None:
        parameters = self._net.parameters
        for name, value in weights.items():
            if name not in parameters or parameters[name].shape != value.shape:
                raise SparsityError(
                    f"a pruner mended {name!r}, no weight in scope of shape {tuple(value.shape)}"
                )
            parameters[name].copy_(value)
        self._device.ranks.share(parameters[name] for name in weights)
        self._net.apply_masks()
