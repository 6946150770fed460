"""Given task: a user's net, batches and loss, in the form that the engine reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import PrivateAttr
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from smc_eval.card import TaskCard
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.errors import UsageError, named_value
from smc_eval.recipe import Recipe
from smc_eval.score import Score
from smc_eval.task import Part, Source, Task

Loss = Callable[[nn.Module, Any], Tensor]
"""The mean loss of a batch: a scalar with a gradient."""

NO_BATCHES = "nothing"
"""The only example of a task without batches."""

ONE_BATCH = Recipe(steps=0, batch_size=1)
"""The recipe of given batches: nothing is trained, and an example is a whole batch."""


class GivenTask(Task):
    """A net with batches and a loss. An example is a batch, so nothing is collated or padded again."""

    card: ClassVar[TaskCard] = TaskCard(
        name="given",
        summary="a net, batches and a loss",
        source="smc_eval.prune",
        metric="none",
        accepts=("given",),
        published="given",
    )
    _net: nn.Module = PrivateAttr()
    _batches: Sequence[Any] = PrivateAttr()
    _loss: Loss | None = PrivateAttr()
    _outputs: Loss | None = PrivateAttr()

    @classmethod
    def of(cls, net: nn.Module, batches: Sequence[Any], loss: Loss | None, outputs: Loss | None) -> GivenTask:
        """The task of a net; with `outputs` it has a capability more."""
        task = (GivenTaskWithOutputs if outputs else cls)(backbone="given", recipe=ONE_BATCH)
        return task.holding(net, batches, loss, outputs)

    def holding(
        self, net: nn.Module, batches: Sequence[Any], loss: Loss | None, outputs: Loss | None
    ) -> GivenTask:
        """This task, with what it is of."""
        self._net, self._batches, self._loss, self._outputs = net, batches, loss, outputs
        return self

    def sources(self) -> tuple[Source, ...]:
        return ()

    def data(self, part: Part) -> Sequence[Any]:
        return self._batches or [NO_BATCHES]

    def model(self) -> nn.Module:
        return self._net

    def collate(self, examples: Sequence[Any]) -> Any:
        (batch,) = examples
        if not self._batches:
            raise UsageError("the method looks at data; give it some: prune(…, batches=LOADER)")
        return batch

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        value: object = self._loss(model, batch) if self._loss else _own_loss(model, batch)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            given = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else named_value(value)
            raise UsageError(f"the loss of a batch is {given}; wanted one floating-point number in a tensor")
        if not bool(value.isfinite()):
            raise UsageError(f"the loss of a batch is {float(value.detach())}; wanted a finite number")
        return value.reshape(())

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        raise NotImplementedError  # nothing is scored

    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        raise NotImplementedError  # nothing is scored


class GivenTaskWithOutputs(GivenTask):
    """A net whose outputs are known too, as SynFlow, GraSP and the effective sparsity need them."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        assert self._outputs is not None
        found: object = self._outputs(model, batch)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            raise UsageError(f"the outputs of a batch are {named_value(found)}; wanted a tensor of floats")
        return self.loss(model, batch), found


class GivenBatches(Batches):
    """Batches as they were given, in their order. If a pruner asks for more, they are read again,
    but not for gradients without dropout."""

    def __init__(self, task: GivenTask, start: str, device: Device) -> None:
        super().__init__(task, ONE_BATCH, start, device)

    def batch(self, places: Sequence[int]) -> Any:
        """The batch at the first of these places: where units are looked for, one stands for two examples."""
        return super().batch(places[:1])

    def _sampled_places(self, batches: int, name: str, size: int | None) -> Iterator[list[int]]:
        return ([number % len(self.examples)] for number in range(batches))


def _own_loss(model: nn.Module, batch: Any) -> Any:
    """The loss that a model of transformers computes of a batch with labels.

    Raises:
        UsageError: the batch is no mapping, or the model computes no loss of it.
    """
    if not isinstance(batch, Mapping):
        raise UsageError(f"a batch is {named_value(batch)}; give a loss: prune(…, loss=lambda net, batch: …)")
    output = model(**batch)
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None:
        raise UsageError(
            "the net gives no loss for a batch; put labels into it, or give a loss: prune(…, loss=…)"
        )
    return loss


def on_device(net: nn.Module) -> torch.device:
    """The device of a net.

    Raises:
        UsageError: it lies on several devices, has no values yet, or complex ones.
    """
    if any(is_lazy(weight) for weight in net.parameters()):
        raise UsageError("the net has lazy parameters without values; run it once on a batch first")
    if any(weight.is_complex() for weight in net.parameters()):
        raise UsageError("the net has complex weights; methods compare real numbers")
    devices = {weight.device for weight in net.parameters()}
    if len(devices) != 1 or "meta" in {device.type for device in devices}:
        places = ", ".join(sorted(map(str, devices))) or "nowhere"
        raise UsageError(f"the net lies on {places}; prune takes a net on one device, with its values")
    return devices.pop()
