"""GraSP: saliency and sign, on a quadratic by hand and on a small net by torch.func."""

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
from smc_eval.errors import UsageError
from smc_eval.methods.grasp import GradientFlow, Grasp
from smc_eval.recipe import Recipe
from smc_eval.sparse.net import Net
from smc_eval.target import Target
from smc_eval.task import Part, Task
from smc_eval.testing import Toy

A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
B = torch.tensor([1.0, 1.0])
W = torch.tensor([1.0, -2.0])


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(W.clone()[None])


class Quadratic(Toy):
    """w A w / 2 - b w: its gradient is A w - b, its Hessian A."""

    def model(self) -> nn.Module:
        return Point()

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        w = cast("Point", model).weight[0]
        return w @ A @ w / 2 - B @ w


class Small(Toy):
    """Two layers with dropout, and two batches of different examples."""

    recipe: Recipe = Recipe(steps=1, batch_size=3)

    def data(self, part: Part) -> Sequence[Any]:
        return [([0.3, -1.0], 0.5), ([1.0, 2.0], -1.0), ([-0.7, 0.1], 2.0), ([0.9, -0.4], 0.0)] * 2

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(3, 1))

    def collate(self, examples: Sequence[Any]) -> Any:
        inputs, answers = zip(*examples, strict=True)
        return torch.tensor(inputs), torch.tensor(answers)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return cast("Tensor", ((model(batch[0])[:, 0] - batch[1]) ** 2).mean())


def probe_of(task: Task, net: Net) -> tuple[NetProbe, Batches]:
    device = Device("cpu", threads=1)
    batches = Batches(task, task.recipe, "start", device)
    return NetProbe(net, batches, "name", Usage(), device), batches


def probe(task: Task, model: nn.Module, names: Sequence[str]) -> tuple[NetProbe, Batches]:
    return probe_of(task, Net(model, names))


def squared_gradient(w: Tensor) -> float:
    return float((A @ w - B).square().sum())


def test_for_a_quadratic_it_is_w_times_hessian_times_gradient() -> None:
    task = Quadratic()
    saliency = GradientFlow(batches=3).saliency(probe(task, task.model(), ["weight"])[0])
    # A w = (0, -5), g = (-1, -6), A g = (-8, -19)
    torch.testing.assert_close(saliency["weight"], torch.tensor([[-8.0, 38.0]]))


def test_the_weight_whose_removal_leaves_the_larger_gradient_is_pruned() -> None:
    task = Quadratic()
    masks = GradientFlow(batches=1).prune(probe(task, task.model(), ["weight"])[0], Target(sparsity=0.5))
    assert masks["weight"].tolist() == [[False, True]]
    # without the first weight g = (-3, -7), without the second (1, 0); with both (-1, -6)
    assert squared_gradient(W * masks["weight"][0]) == 58
    assert squared_gradient(W * ~masks["weight"][0]) == 1
    assert squared_gradient(W) == 37


@pytest.mark.parametrize("place", [0, 1])
def test_it_is_half_the_derivative_of_the_squared_gradient_by_the_scale_of_the_weight(place: int) -> None:
    task = Quadratic()
    saliency = GradientFlow(batches=1).saliency(probe(task, task.model(), ["weight"])[0])["weight"][0, place]
    less, more = W.double().clone(), W.double().clone()
    less[place] *= 1 - 1e-3
    more[place] *= 1 + 1e-3
    a, b = A.double(), B.double()
    fall = ((a @ more - b).square().sum() - (a @ less - b).square().sum()) / 2e-3
    assert float(fall) == pytest.approx(2 * float(saliency), rel=1e-4)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch.func's own import
def test_on_a_net_it_equals_torch_func_on_the_same_batches_without_dropout() -> None:
    torch.manual_seed(0)
    task = Small()
    model = task.model()
    names = ["0.weight", "3.weight"]
    net_probe, source = probe(task, model, names)
    saliency = GradientFlow(batches=2).saliency(net_probe)
    batches = list(source.sample(2, "name"))
    model.eval()
    fixed = {name: w.detach() for name, w in model.named_parameters()}
    shapes = [fixed[name].shape for name in names]

    def loss(flat: Tensor) -> Tensor:
        parts = torch.split(flat, [shape.numel() for shape in shapes])
        values = {name: p.view(shape) for name, p, shape in zip(names, parts, shapes, strict=True)}
        outs = [torch.func.functional_call(model, {**fixed, **values}, (x,))[:, 0] for x, _ in batches]
        losses = [((out - y) ** 2).mean() for out, (_, y) in zip(outs, batches, strict=True)]
        return torch.stack(losses).mean()

    flat = torch.cat([fixed[name].flatten() for name in names])
    wanted = flat * (torch.func.hessian(loss)(flat) @ torch.func.grad(loss)(flat))
    torch.testing.assert_close(torch.cat([saliency[name].flatten() for name in names]), wanted)
    assert wanted.min() < 0 < wanted.max()


def test_pruned_weights_have_no_part_in_the_gradient_norm() -> None:
    task = Quadratic()
    model = task.model()
    net = Net(model, ["weight"])
    net.set_masks({"weight": torch.tensor([[False, True]])})
    # w = (0, -2), g = (-3, -7) of which -7 is unpruned; A (0, -7) = (-7, -21)
    torch.testing.assert_close(
        GradientFlow(batches=1).saliency(probe_of(task, net)[0])["weight"], torch.tensor([[0.0, 42.0]])
    )


def test_lamp_is_refused_because_saliencies_have_a_sign() -> None:
    with pytest.raises(
        UsageError, match="'grasp' does not support distribution 'lamp'; it supports: global, uniform, erk"
    ):
        Grasp().accept(Target(sparsity=0.5, distribution="lamp"))
