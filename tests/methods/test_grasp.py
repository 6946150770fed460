"""GraSP: saliency and sign, on a quadratic by hand and on a small net by torch.func."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor, nn

from smc_eval.capabilities import HasClasses, HasOutputs
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.objective import softened
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.errors import PluginError, UsageError
from smc_eval.methods.grasp import GradientFlow, Grasp, SoftGradientFlow
from smc_eval.recipe import Recipe
from smc_eval.registry import registry
from smc_eval.sparse.net import Net
from smc_eval.stages import Prune, Train
from smc_eval.target import Target
from smc_eval.task import Part, Task
from smc_eval.testing import Toy, assert_equal, chain_of

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


class Odds(nn.Module):
    """Two logits, the weights themselves: 2 ln 3 and 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2 * math.log(3)], [0.0]]))


class Choice(Toy):
    """The first class is right."""

    def model(self) -> nn.Module:
        return Odds()

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        log_NC = cast("Odds", model).weight.T.log_softmax(-1)
        return -log_NC[0, 0], log_NC


def test_at_a_temperature_of_two_it_is_as_computed_by_hand() -> None:
    task = Choice()
    by = SoftGradientFlow(batches=1, temperature=2.0)
    saliency = by.saliency(probe(task, task.model(), ["weight"])[0])["weight"]
    # p = (3/4, 1/4), g = (p - y) / 2 = (-1/8, 1/8), H = (diag p - p p^T) / 4 = 3/64 [[1, -1], [-1, 1]],
    # H g = (-3/256, 3/256)
    torch.testing.assert_close(saliency, torch.tensor([[-6 * math.log(3) / 256], [0.0]]))


def test_the_defaults_are_those_of_the_authors_code() -> None:
    target = Target(sparsity=0.5)
    by = SoftGradientFlow(batches=64, temperature=200.0, per_class=10)
    assert list(Grasp().plan(target)) == [Prune(by=by, to=target), Train()]


def test_without_a_temperature_it_has_the_digest_and_the_bits_that_it_had() -> None:
    (stage, _) = Grasp.model_validate({"temperature": 1, "per_class": None}).plan(Target(sparsity=0.5))
    assert isinstance(stage, Prune)
    assert stage.by.canonical() == {
        "identity": "smc-eval:GradientFlow",
        "version": 2,
        "fields": {"batches": 64},
    }
    saliencies = []
    for by in (stage.by, SoftGradientFlow(batches=64, temperature=1.0)):
        assert isinstance(by, GradientFlow)
        torch.manual_seed(0)
        task = Small()
        saliencies.append(by.saliency(probe(task, task.model(), ["0.weight", "3.weight"])[0]))
    assert_equal([saliencies[0]], [saliencies[1]])


class LossOnly(Quadratic):
    """A task without outputs."""

    loss_and_outputs: ClassVar[None] = None  # type: ignore[assignment]


def test_a_task_without_outputs_needs_a_temperature_of_one() -> None:
    target = Target(sparsity=0.5)
    with pytest.raises(UsageError, match="'grasp' needs the outputs of the task.*choose other options"):
        chain_of(Grasp(), target, LossOnly())
    chain_of(Grasp(temperature=1), target, LossOnly())


def made(name: str) -> Task:
    """A shipped task with its tiny net, on synthetic data."""
    kind = registry().tasks[name]
    return kind(backbone="tiny", fold=0 if kind.card.folds else None, limit=40)


@pytest.mark.parametrize("name", sorted(registry().tasks))
def test_every_shipped_task_with_log_probabilities_has_a_temperature(name: str) -> None:
    task = made(name)
    torch.manual_seed(0)
    model = task.model()
    model.eval()
    assert isinstance(task, HasOutputs)
    loss, outputs = task.loss_and_outputs(model, task.collate(task.data("train")[:4]))
    reason = "are not log-probabilities" if name.endswith("/tm") or name == "meltome" else None
    if name == "winogrande":  # by spans, with a margin between two candidates
        reason = "is not the mean cross entropy"
    if reason:
        with pytest.raises(PluginError, match=reason):
            softened(loss, outputs, 200.0)
        return
    for temperature in (1.0, 200.0):
        found = softened(loss, outputs, temperature)
        # at a high temperature all classes of a term are equally likely
        allowed = (outputs > -torch.inf).sum(-1).float().log().mean()
        wanted = loss if temperature == 1 else allowed
        torch.testing.assert_close(found, wanted, rtol=2e-2, atol=1e-5, check_dtype=False)


def test_proteins_have_classes_and_choices_equations_and_translations_have_none() -> None:
    with_classes = {name for name in registry().tasks if isinstance(made(name), HasClasses)}
    assert with_classes == {"hp-s", "hp-s2c2", "hp-s2c5"}
    task = made("hp-s2c5")
    assert isinstance(task, HasClasses)
    assert {task.class_of(protein) for protein in task.data("train")} <= set(range(5))
