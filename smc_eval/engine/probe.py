"""Probe: a pruner's view of the net and of its training data. It counts what its passes cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from smc_eval.capabilities import HasOutputs, real_tokens
from smc_eval.engine.batches import Batches, Passes
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.net_reader import NetReader
from smc_eval.engine.usage import Usage
from smc_eval.errors import PluginError, SparsityError, named_value
from smc_eval.sparse.flow import flow
from smc_eval.sparse.given_tensors import wrong_tensors
from smc_eval.sparse.inputs import InputObserver, Reducible, observing
from smc_eval.sparse.net import WHOLE_NUMBERS, Net
from smc_eval.sparse.sight import Sight
from smc_eval.spec import digest


class NetProbe(NetReader):
    """`smc_eval.pruner.Probe` over a net, its training data and the random generator of a stage."""

    def __init__(
        self, net: Net, batches: Batches, name: str, usage: Usage, device: Device, by: str = "a pruner"
    ) -> None:
        """`name` is the stage's digest. Everything random is seeded from it. `by` names the pruner."""
        super().__init__(net)
        self._batches, self._name, self._usage, self._device = batches, name, usage, device
        self._by, self._seals = by, self._current_seals()
        self.generator: torch.Generator = device.generator(name)
        self.meters: dict[str, FlopMeter] = {}
        """A meter for each kind of pass."""
        self.sight: Sight | None = None
        """What the pruner has seen of inputs; None if it did not look."""

    def gradients(self, batches: int, *, dropout: bool = True) -> dict[str, Tensor]:
        with self._scoring(dropout=dropout):
            for passes in self._batches.sample_passes(batches, self._name):
                self._run("batches", passes, lambda batch, share: self._backward(batch, share / batches))
            return {name: gradient.clone() for name, gradient in self.net.reduced_gradients().items()}

    def each_gradient(self, batches: int, size: int | None = None) -> Iterator[Mapping[str, Tensor]]:
        self._device.seed(digest(self._name, "each gradient"))  # a second call has the same dropout
        with self._scoring(dropout=True):
            for passes in self._batches.sample_passes(batches, self._name, size):
                self.net.forget_gradients()
                self._run(f"batches of {size}", passes, self._backward)
                yield self.net.reduced_gradients()

    def products(self, vectors: Mapping[str, Tensor], batches: int) -> dict[str, Tensor]:
        # fused attention and cudnn's recurrence have no second derivative
        with (
            self._scoring(dropout=False),
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.cudnn.flags(enabled=False),
        ):
            for passes in self._batches.sample_passes(batches, self._name, whole=True):
                self._run(
                    "products", passes, lambda b, share: self._second_backward(b, share, batches, vectors)
                )
                self._usage.scoring_passes += passes.count  # two backward passes for each
            return {name: gradient.clone() for name, gradient in self.net.reduced_gradients().items()}

    @torch.no_grad()
    def inputs(self, batches: int, see: InputObserver) -> None:
        model, ranks, meter = self.net.model, self._device.ranks, self._meter("inputs")
        own = passes = self._batches.sample_unpadded(batches, self._name)
        # the results of a plain function cannot be added up: each rank then runs all batches
        if shared := isinstance(see, Reducible) and ranks.size > 1:
            own = passes[ranks.rank :: ranks.size]
        with (
            self._scoring(dropout=False),
            observing(model, self.net.weights, see) as watch,
            ranks.errors_shared(),
        ):
            for places in own:
                batch = self._batches.batch(places)
                watch.real = real_tokens(self._batches.task, batch)
                with (
                    meter.over(self._batches.tokens(places)),
                    self._device.autocast(self._batches.recipe.precision),
                ):
                    self._batches.task.loss(model, batch)
        self._usage.scoring_passes += batches
        self.sight = self.sight or Sight()
        self.sight.add(ranks.gather(watch.sight) if shared else [watch.sight])
        totals = [sum(map(self._batches.tokens, some)) for some in (passes, own)]
        meter.add_remote_tokens(totals[0] - totals[1])
        meter.dense_gradients(totals[0])
        if shared:
            assert isinstance(see, Reducible)
            keys = sorted({key for own_keys in ranks.gather(list(see.keys())) for key in own_keys})
            ranks.all_reduce(see.sum_at(key) for key in keys)

    def flow(self, batches: int) -> dict[str, Tensor]:
        weights = self.net.weights
        flows: dict[str, Tensor] = {}
        for batch in self._batches.sample(batches, self._name):
            with self._metered("flow"):
                part = flow(self.net.model, weights, partial(self._outputs, batch))
            self._usage.scoring_passes += 1
            flows |= {name: flows.get(name, 0) + values for name, values in part.items()}
            if flows.keys() == weights.keys():
                break
        return {name: flows.get(name, torch.zeros_like(weight)) for name, weight in weights.items()}

    def _outputs(self, batch: Any, model: torch.nn.Module) -> Tensor:
        task = self._batches.task
        assert isinstance(task, HasOutputs)  # otherwise the cell was refused
        return task.loss_and_outputs(model, batch)[1]

    @contextmanager
    def _scoring(self, *, dropout: bool) -> Iterator[None]:
        """Within, gradients add up on the net. Afterwards it has none, and its mode is as before."""
        model, training = self.net.model, self.net.model.training
        model.train(dropout)
        self.net.forget_gradients()
        try:
            yield
        finally:
            self.net.forget_gradients()
            model.train(training)

    def _run(self, kind: str, passes: Passes, act: Callable[[Any, float], None]) -> None:
        """Run this rank's passes, and count the passes of all ranks."""
        own = passes.own_tokens / passes.tokens
        with self._metered(kind, own), self._device.ranks.errors_shared():
            for batch, share in passes:
                act(batch, share)
        self._usage.scoring_passes += passes.count

    def _backward(self, batch: Any, share: float) -> None:
        """Add the gradients of a share of the loss to those of the net."""
        with self._device.autocast(self._batches.recipe.precision):
            loss = self._batches.task.loss(self.net.model, batch) * share
        loss.backward()  # type: ignore[no-untyped-call]

    def _second_backward(self, batch: Any, share: float, batches: int, vectors: Mapping[str, Tensor]) -> None:
        """Add the gradients of the product of gradient and vectors, for a share of the mean loss."""
        parameters = self.net.parameters
        loss = self._batches.task.loss(self.net.model, batch) * share / batches
        first: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss, list(parameters.values()), create_graph=True, allow_unused=True
        )
        along = [
            (gradient * vectors[name]).sum()
            for name, gradient in zip(parameters, first, strict=True)
            if gradient is not None and gradient.requires_grad
        ]
        if along:
            torch.stack(along).sum().backward()  # type: ignore[no-untyped-call]

    @contextmanager
    def _metered(self, kind: str, own: float = 1.0) -> Iterator[None]:
        """Within: the passes over a batch, of which `own` is this rank's share. Gradients count as dense."""
        meter = self._meter(kind)
        with meter.over(own):
            yield
        meter.add_remote_tokens(1 - own)
        meter.dense_gradients(1.0)

    def _meter(self, kind: str) -> FlopMeter:
        if kind not in self.meters:
            self.meters[kind] = FlopMeter(self.net)
        return self.meters[kind]

    def note(self, text: str) -> None:
        given: object = text
        if not isinstance(given, str) or len(given.splitlines()) != 1:
            raise PluginError(f"{self._by} noted {named_value(given)}; wanted a text of one line")
        if text not in self._usage.notes:
            self._usage.notes.append(text)

    @torch.no_grad()
    def mend(self, weights: Mapping[str, Tensor]) -> None:
        self.check_unwritten()
        parameters = self.net.parameters
        if found := wrong_tensors(weights):
            raise SparsityError(f"{self._by} mended the net by {found}; wanted real numbers")
        for name, value in weights.items():
            if name not in parameters or parameters[name].shape != value.shape:
                raise SparsityError(
                    f"{self._by} mended {name!r}, no weight in scope of shape {tuple(value.shape)}"
                )
            parameters[name].copy_(value)
        self._device.ranks.broadcast_tensors(parameters[name] for name in weights)
        self.net.apply_masks()
        self._seals = self._current_seals()

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Set the pruner's masks.

        Raises:
            SparsityError: the pruner wrote into the net, or the masks do not fit it.
        """
        self.check_unwritten()
        self.net.set_masks(masks)
        self._seals = self._current_seals()

    def check_unwritten(self) -> None:
        """Check that the weights and masks are those that the pruner was shown, or has mended.

        Raises:
            SparsityError: the pruner wrote into one.
        """
        for (kind, name), seal in self._current_seals().items():
            if seal != self._seals[kind, name]:
                raise SparsityError(
                    f"{self._by} wrote into {name!r} of probe.{kind}, which belong to the net; "
                    "it may return masks, and change weights by probe.mend alone"
                )

    def _current_seals(self) -> dict[tuple[str, str], tuple[int, int]]:
        tensors = {("weights", name): weight for name, weight in self.net.weights.items()}
        tensors |= {("masks", name): mask for name, mask in self.net.masks.items()}
        return {place: seal(tensor) for place, tensor in tensors.items()}


def seal(tensor: Tensor) -> tuple[int, int]:
    """Two sums over the bits of a tensor, by its rows and by its columns. Almost every write changes one."""
    if not tensor.numel():
        return 0, 0
    bits = tensor.view(WHOLE_NUMBERS[tensor.element_size()]).reshape(len(tensor), -1)
    sums = [bits.sum(dim, dtype=torch.int64) for dim in (0, 1)]
    by_column, by_row = (
        int((each * torch.arange(1, len(each) + 1, device=each.device)).sum()) for each in sums
    )
    return by_column, by_row
