"""Batch effect: whether other examples of a batch change the outputs of a net for an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.capabilities import HasOutputs, loss_terms, side_lengths
from smc_eval.engine.device import Device
from smc_eval.task import Task

COMPANIONS = 3
"""Examples of different lengths that are each compared with and without the longest beside them."""

TOLERANCE = 1e-4
"""Largest relative difference that is rounding. Other shapes of a batch are added up in another order."""


@dataclass(frozen=True)
class Sums:
    """The outputs of a net for a batch, as numbers that add up over its examples."""

    loss: float
    """The sum of the loss over its terms."""
    outputs: Tensor
    """The sum of the outputs over their rows; empty where the task has none."""

    def __add__(self, other: Sums) -> Sums:
        outputs = self.outputs + other.outputs if self._comparable(other) else self.outputs[:0]
        return Sums(self.loss + other.loss, outputs)

    def differs(self, other: Sums) -> bool:
        """Whether they differ by more than rounding."""
        losses = torch.tensor([self.loss, other.loss], dtype=torch.float64)
        if _differ(losses[:1], losses[1:]):
            return True
        return self._comparable(other) and _differ(self.outputs, other.outputs)

    def _comparable(self, other: Sums) -> bool:
        return self.outputs.shape == other.outputs.shape


@torch.no_grad()
def has_batch_effect(task: Task, model: nn.Module, examples: Sequence[Any], device: Device) -> bool:
    """Whether a net in evaluation mode has other outputs for examples together than for each alone.

    Padding is input to some nets (FNet mixes all positions), and others share a capacity within a batch.
    Some examples of different lengths are each passed alone, and beside the longest. The loss of both
    together is the mean of the two losses, weighted by their terms, and their outputs are those of both;
    or else something leaked. Numbers that are not finite show nothing.
    """
    order = sorted(range(len(examples)), key=[max(s) for s in side_lengths(task, examples)].__getitem__)
    if len(order) < 2:
        return False
    training = model.training
    model.eval()
    try:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            longest = examples[order[-1]]
            companions = [
                examples[order[(len(order) - 1) * number // COMPANIONS]] for number in range(COMPANIONS)
            ]
            alone = _sums(task, model, [longest], device)
            return any(
                _sums(task, model, [example, longest], device).differs(
                    _sums(task, model, [example], device) + alone
                )
                for example in companions
            )
    finally:
        model.train(training)


def _sums(task: Task, model: nn.Module, examples: Sequence[Any], device: Device) -> Sums:
    batch, terms = device.move(task.collate(list(examples))), loss_terms(task, examples)
    if isinstance(task, HasOutputs):
        loss, outputs = task.loss_and_outputs(model, batch)
        return Sums(float(loss) * terms, outputs.double().sum(0).reshape(-1))
    return Sums(float(task.loss(model, batch)) * terms, torch.zeros(0))


def _differ(one: Tensor, other: Tensor) -> bool:
    finite = one.isfinite() & other.isfinite()
    one, other = one[finite], other[finite]
    if not one.numel():
        return False
    scale = max(1.0, float(one.abs().max()), float(other.abs().max()))
    return bool((one - other).abs().max() > TOLERANCE * scale)
