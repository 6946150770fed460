"""SNIP: its saliency on a loss with a known gradient, and the effect of few batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.methods.snip import Sensitivity, Snip
from smc_eval.recipe import Recipe
from smc_eval.sparse.net import Net
from smc_eval.stages import Prune, Train
from smc_eval.target import Target
from smc_eval.task import Part
from smc_eval.testing import Toy


class Line(nn.Module):
    """y = w x, w = (2, -1, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0, -1.0, 3.0]]))


class Squares(Toy):
    """(w x - y)^2 / 2, whose gradient is (w x - y) x."""

    recipe: Recipe = Recipe(steps=1, batch_size=1)

    def model(self) -> nn.Module:
        return Line()

    def data(self, part: Part) -> Sequence[Any]:
        # errors w x - y: 2 - 1 = 1 and 2 - 3 - 1 = -2
        return [([1.0, 0.0, 0.0], 1.0), ([1.0, 3.0, 0.0], 1.0)]

    def collate(self, examples: Sequence[Any]) -> Any:
        inputs, answers = zip(*examples, strict=True)
        return torch.tensor(inputs), torch.tensor(answers)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        inputs_NI, answers_N = batch
        return cast("Tensor", ((inputs_NI @ cast("Line", model).weight[0] - answers_N) ** 2 / 2).mean())


def saliency(batches: int) -> tuple[list[float], int]:
    device, usage = Device("cpu", threads=1), Usage()
    task = Squares()
    net = Net(task.model(), ("weight",))
    probe = NetProbe(net, Batches(task, task.recipe, "start", device), "name", usage, device)
    values = Sensitivity(batches=batches).saliency(probe)["weight"]
    return values[0].tolist(), usage.scoring_passes


def test_the_saliency_is_the_absolute_value_of_mean_gradient_times_weight() -> None:
    # gradients of the two examples: (1, 0, 0) and (-2, -6, 0); their mean (-1/2, -3, 0)
    assert saliency(2) == ([1.0, 3.0, 0.0], 2)


def test_one_batch_uses_one_example() -> None:
    values, passes = saliency(1)
    assert passes == 1
    assert values in ([2.0, 0.0, 0.0], [4.0, 6.0, 0.0])


def test_the_plan_prunes_and_trains_and_the_paper_protocol_takes_one_batch() -> None:
    target = Target(sparsity=0.5)
    assert list(Snip().plan(target)) == [Prune(by=Sensitivity(batches=64), to=target), Train()]
    by = Sensitivity(batches=1, dropout=True)
    assert list(Snip(**Snip.paper).plan(target)) == [Prune(by=by, to=target), Train()]


@pytest.mark.parametrize("dropout", [True, False])
def test_dropout_is_an_option_and_off_as_in_the_authors_code(*, dropout: bool) -> None:
    task, device = Toy(), Device("cpu", threads=1)
    device.seed("start")
    net = Net(task.model(), ("down.weight",))
    batches = Batches(task, task.recipe, "start", device)
    probe = NetProbe(net, batches, "name", Usage(), device)
    device.seed("stage")
    values = Sensitivity(batches=2, dropout=dropout).saliency(probe)["down.weight"]
    net.model.train(dropout)
    device.seed("stage")
    losses = [task.loss(net.model, batch) for batch in batches.sample(2, "name")]
    weight = net.model.get_parameter("down.weight")
    (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), weight)
    torch.testing.assert_close(values, (gradient * weight).detach().abs())
    assert not Snip().dropout
