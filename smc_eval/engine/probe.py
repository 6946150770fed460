"""Probe: a pruner's view of the net and of its training data. It counts what its passes cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from smc_eval.capabilities import HasOutputs
from smc_eval.engine.attention import attention_in_fp32
from smc_eval.engine.batches import Batches, Passes
from smc_eval.engine.block_walk import BlockWalk, NetSection
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.hidden_reorder import HiddenReorder
from smc_eval.engine.input_passes import InputPasses, whole_pass
from smc_eval.engine.net_reader import NetReader
from smc_eval.engine.objective import softened
from smc_eval.engine.usage import Usage
from smc_eval.errors import PluginError, SparsityError, named_value
from smc_eval.sparse.counts import equal_masks
from smc_eval.sparse.flow import flow
from smc_eval.sparse.given_tensors import wrong_tensors
from smc_eval.sparse.inputs import InputObserver
from smc_eval.sparse.net import Net
from smc_eval.sparse.seal import seal
from smc_eval.sparse.sight import Sight
from smc_eval.spec import digest


class NetProbe(NetReader):
    """`smc_eval.pruner.Probe` over a net, its training data and the random generator of a stage."""

    def __init__(
        self, net: Net, batches: Batches, name: str, usage: Usage, device: Device, by: str = "a pruner"
    ) -> None:
        """`name` is the stage's digest. Everything random is seeded from it. `by` names the pruner."""
        super().__init__(net)
        self._given, self._name, self._usage, self._device = batches, name, usage, device
        self._by, self._seals = by, self._current_seals()
        self.generator: torch.Generator = device.generator(name)
        self.reads_batches = True
        """Whether the pruner may read batches: whether it says so."""
        self.meters: dict[str, FlopMeter] = {}
        """A meter for each kind of pass."""
        self.kept_mebibytes = 0.0
        """Most memory of the outputs that walks kept."""
        self.sight: Sight | None = None
        """What the pruner has seen of inputs; None if it did not look."""
        self._settled: dict[str, Tensor] = {}
        """Masks that the pruner has settled in a walk, and not yet returned."""
        self._changes = 0
        """Changes of masks before the walk."""
        self._reorder: HiddenReorder | None = None

    @property
    def _batches(self) -> Batches:
        if not self.reads_batches:
            raise PluginError(
                f"{self._by} reads batches, and its `reads_batches` is False; set it to True, or two recipes "
                "with other batches may share its masks"
            )
        return self._given

    @property
    def usage(self) -> Usage:
        """What the net has cost so far; passes of this probe are added."""
        return self._usage

    def gradients(
        self, batches: int, *, dropout: bool = True, temperature: float = 1.0, per_class: int | None = None
    ) -> dict[str, Tensor]:
        with self._scoring(dropout=dropout), _recurrence(dropout=dropout):
            for passes, among in self._sampled(batches, per_class, once=not dropout):
                self._run("batches", passes, partial(self._backward, among=among, temperature=temperature))
            return {name: gradient.clone() for name, gradient in self.net.reduced_gradients().items()}

    def each_gradient(
        self, batches: int, size: int | None = None, *, dropout: bool = True
    ) -> Iterator[Mapping[str, Tensor]]:
        self._device.seed(digest(self._name, "each gradient"))  # a second call has the same dropout
        with self._scoring(dropout=dropout), _recurrence(dropout=dropout):
            for passes in self._batches.sample_passes(batches, self._name, size):
                self.net.forget_gradients()
                self._run(f"batches of {size}", passes, self._backward)
                yield self.net.reduced_gradients()

    def products(
        self,
        vectors: Mapping[str, Tensor],
        batches: int,
        *,
        temperature: float = 1.0,
        per_class: int | None = None,
    ) -> dict[str, Tensor]:
        # fused attention has no second derivative
        with self._scoring(dropout=False), _recurrence(dropout=False), sdpa_kernel(SDPBackend.MATH):
            for passes, among in self._sampled(batches, per_class, once=True, whole=True):
                second = partial(self._second_backward, among=among, vectors=vectors, temperature=temperature)
                self._run("products", passes, second)
                self._usage.scoring_passes += passes.count  # two backward passes for each
            return {name: gradient.clone() for name, gradient in self.net.reduced_gradients().items()}

    def inputs(self, batches: int, see: InputObserver) -> None:
        passes = InputPasses(self.net, self._batches, batches, self._name, self._device)
        passes.observe(self.net.weights, see, self._meter("inputs"), whole_pass)
        self._usage.scoring_passes += batches
        self._look(passes)

    def walk(self, batches: int) -> Iterator[NetSection]:
        passes = InputPasses(self.net, self._batches, batches, self._name, self._device)
        walk = BlockWalk(passes, lambda kind: self._meter(f"walk {kind}"), self._settle)
        before, self._changes = self._usage.scoring_passes, self.net.changes
        for section in walk.sections():
            yield section
            self.kept_mebibytes = max(self.kept_mebibytes, walk.kept_bytes / 2**20)
            self._usage.scoring_passes = before + math.ceil(batches * walk.passed)
        self._look(passes)

    def _look(self, passes: InputPasses) -> None:
        """Remember what was seen of inputs."""
        self.sight = self.sight or Sight()
        self.sight.add([passes.sight])

    def flow(self, batches: int) -> dict[str, Tensor]:
        weights = self.net.weights
        flows: dict[str, Tensor] = {}
        for batch in self._batches.sample_excerpts(batches, self._name):
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

    def _sampled(
        self, batches: int, per_class: int | None, *, once: bool, whole: bool = False
    ) -> Iterator[tuple[Passes, float]]:
        """The passes of each batch, and how many batches of its size would have all examples.

        With `once`, at most one pass over the data is made, in which all examples count alike.
        """
        drawn = None
        if per_class is not None:
            if per_class < 1:
                raise PluginError(
                    f"{self._by} asked for {per_class} examples of each class; wanted 1 or more"
                )
            drawn = self._batches.sample_classes(per_class, self._name, whole=whole)
        if drawn is None and once and batches >= self._batches.in_a_pass:
            drawn = [*self._batches.sample_passes(self._batches.in_a_pass, self._name, whole=whole)]
        if drawn is None:
            for passes in self._batches.sample_passes(batches, self._name, whole=whole):
                yield passes, batches
            return
        examples = sum(passes.examples for passes in drawn)
        for passes in drawn:
            yield passes, examples / passes.examples

    def _run(self, kind: str, passes: Passes, act: Callable[[Any, float], None]) -> None:
        """Run this rank's passes, and count the passes of all ranks."""
        own = passes.own_tokens / passes.tokens
        with self._metered(kind, own), self._device.ranks.errors_shared():
            for batch, share in passes:
                act(batch, share)
        self._usage.scoring_passes += passes.count

    def _loss(self, batch: Any, temperature: float) -> Tensor:
        """The loss of a batch, at a temperature of the softmax."""
        task = self._batches.task
        if temperature == 1:
            return task.loss(self.net.model, batch)
        if not (isinstance(task, HasOutputs) and temperature > 0):
            raise PluginError(
                f"{self._by} has a temperature of {temperature:g}; it must be above 0, and all but 1 need "
                "a task with `loss_and_outputs`: set needs_outputs, or use temperature=1"
            )
        try:
            return softened(*task.loss_and_outputs(self.net.model, batch), temperature)
        except PluginError as error:
            raise PluginError(
                f"{self._by} has a temperature of {temperature:g}, and the loss of task {task.card.name!r} "
                f"has none: {error}; use temperature=1"
            ) from error

    def _backward(self, batch: Any, share: float, among: float = 1.0, temperature: float = 1.0) -> None:
        """Add the gradients of a share of the loss to those of the net, for the mean of `among` batches."""
        with attention_in_fp32():  # also in the backward pass: a net may recompute its activations there
            with self._device.autocast(self._batches.recipe.precision):
                loss = self._loss(batch, temperature) * (share / among)
            loss.backward()  # type: ignore[no-untyped-call]

    def _second_backward(
        self, batch: Any, share: float, among: float, vectors: Mapping[str, Tensor], temperature: float
    ) -> None:
        """Add the gradients of the product of gradient and vectors, for a share of the mean loss."""
        parameters = self.net.parameters
        loss = self._loss(batch, temperature) * share / among
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

    def mend(self, weights: Mapping[str, Tensor]) -> None:
        self.check_unwritten()
        self._write(weights)
        self.net.apply_masks()
        self._seals = self._current_seals()

    @torch.no_grad()
    def _write(self, weights: Mapping[str, Tensor]) -> None:
        """Give weights new values, those of rank 0."""
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

    def _settle(self, masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
        """Set masks and values of a section. All sections of a walk together are one change of masks."""
        self.check_unwritten(masks)
        self._write(weights)
        known = masks if self.net.masks else None  # the first masks of a net are set for all weights
        self.net.set_some_masks(masks)
        self.net.changes = min(self.net.changes, self._changes + 1)
        self._settled |= {name: self.net.masks[name] for name in masks}
        self._seals |= self._current_seals(known)

    def hidden_inputs(self) -> tuple[str, ...]:
        self.check_unwritten()
        if self.net.masks:
            return ()
        meter = self._meter("hidden units")
        self._reorder = HiddenReorder(self.net, self._batches, self._name, self._device, meter)
        names = self._reorder.find()
        self._usage.scoring_passes += self._reorder.runs
        return names

    def reorder_hidden(self, orders: Mapping[str, Tensor]) -> None:
        self.check_unwritten()
        if self._reorder is None:
            raise SparsityError(f"{self._by} reordered units before it called probe.hidden_inputs()")
        self._reorder.reorder(orders, self._by)
        self._seals = self._current_seals()

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Set the pruner's masks.

        Raises:
            SparsityError: the pruner wrote into the net, or the masks do not fit it.
            PluginError: it settled other masks in a walk.
        """
        self.check_unwritten()
        for name, mask in self._settled.items():
            if name not in masks or not equal_masks(masks[name].to(mask.device), mask):
                raise PluginError(f"{self._by} returned another mask of {name!r} than it settled in a walk")
        whole = masks.keys() == self._settled.keys() == {*self.net.scope}
        self._settled = {}
        if not whole:  # else the walk has set them all, and a second copy of each would be made
            self.net.set_masks(masks)
        self._seals = self._current_seals()

    def check_unwritten(self, names: Collection[str] | None = None) -> None:
        """Check that weights and masks, by default all, are those that the pruner was shown, or has mended.

        Raises:
            SparsityError: the pruner wrote into one.
        """
        for (kind, name), found in self._current_seals(names).items():
            if found != self._seals[kind, name]:
                raise SparsityError(
                    f"{self._by} wrote into {name!r} of probe.{kind}, which belong to the net; "
                    "it may return masks, and change weights by probe.mend alone"
                )

    def _current_seals(self, names: Collection[str] | None = None) -> dict[tuple[str, str], tuple[int, int]]:
        kinds = {"weights": self.net.weights, "masks": self.net.masks}
        return {
            (kind, name): seal(tensor)
            for kind, tensors in kinds.items()
            for name, tensor in tensors.items()
            if names is None or name in names
        }


@contextmanager
def _recurrence(*, dropout: bool) -> Iterator[None]:
    """Within, recurrent nets have derivatives; in evaluation mode, those of cudnn have none."""
    if dropout:
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield
