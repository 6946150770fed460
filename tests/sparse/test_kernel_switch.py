"""The switch: the same net with sparse maps, and what stays dense."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from smc_eval.errors import UsageError
from smc_eval.sparse.kernels import served
from smc_eval.sparse.kernels.choice import Choice, KernelQuestion
from smc_eval.sparse.kernels.layout import MaskLayout
from smc_eval.sparse.kernels.named import MAP_KERNELS
from smc_eval.sparse.kernels.switch import Switch
from smc_eval.sparse.net import Net
from smc_eval.sparse.operations import Counting, Operations


@pytest.fixture(autouse=True)
def small_maps_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "FEWEST_WEIGHTS", 1)
    monkeypatch.setattr(served, "FEWEST_OPERATIONS", 1)


def always_tiles(_: KernelQuestion) -> Choice:
    return Choice("tiles", "tiles")


class Attention(nn.Module):
    """Two maps of one input, one that is used twice, one that is stored turned, and one read as a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(12, 8), nn.Linear(12, 8, bias=False)
        self.twice, self.turned = nn.Linear(8, 8), Conv1D(10, 8)
        self.read = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.twice(torch.tanh(self.query(x) + self.key(x)))
        return nn.functional.linear(self.turned(self.twice(mixed)), self.read.weight, self.read.bias)


def pruned(model: nn.Module, density: float = 0.3) -> Net:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    net = Net(model, [name for name, weight in model.named_parameters() if weight.ndim == 2])
    net.set_masks({name: torch.rand_like(weight) < density for name, weight in net.weights.items()})
    return net


def passed(model: nn.Module, x: Tensor, times: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
    """The outputs, and the gradients of all parameters and of the input, added up over some passes."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    for _ in range(times):
        outputs = model(x)
        outputs.pow(2).sum().backward()
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert x.grad is not None
    return outputs.detach(), {"input": x.grad} | {name: grad.clone() for name, grad in grads.items()}


def close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).norm() <= 1e-5 * wanted.norm())


@pytest.mark.parametrize("times", [1, 2])
def test_outputs_and_accumulated_gradients_are_those_of_the_dense_net(times: int) -> None:
    net, x = pruned(Attention()), torch.randn(3, 50, 12)
    dense, dense_grads = passed(net.model, x, times)
    with Switch(net, always_tiles).on() as ran:
        sparse, grads = passed(net.model, x, times)
    assert ran == {"query.weight", "key.weight", "twice.weight", "turned.weight"}
    assert close(sparse, dense)
    for name, grad in grads.items():
        wanted = dense_grads[name]
        if name in ran:
            assert not grad[~net.masks[name]].any()
            wanted = wanted * net.masks[name]
        assert close(grad, wanted), name


def test_without_gradients_the_outputs_are_the_same_too() -> None:
    net, x = pruned(Attention()), torch.randn(50, 12)
    with torch.no_grad():
        dense = net.model(x)
        with Switch(net, always_tiles).on() as ran:
            sparse = net.model(x)
    assert len(ran) == 4 and close(sparse, dense)


def multiplying(_: KernelQuestion) -> Choice:
    """As a crossover does before it answers."""
    layout = MaskLayout(torch.ones(8, 8, dtype=torch.bool))
    MAP_KERNELS["tiles"].outputs(layout, torch.ones(8, 8), None, torch.ones(8, 8) @ torch.ones(8, 8))
    return Choice("tiles", "tiles")


def test_operations_of_sparse_maps_are_counted_as_dense_ones() -> None:
    net, x = pruned(Attention()), torch.randn(3, 50, 12)
    dense, sparse = Operations(), Operations()
    with torch.no_grad():
        with Counting(net.weights, dense):
            net.model(x)
        with Counting(net.weights, sparse) as counting, Switch(net, multiplying).on(counting) as ran:
            net.model(x)
    assert len(ran) == 4
    assert sparse == dense and sparse.products["query.weight"] == 2 * 150 * 12 * 8


@pytest.mark.parametrize("learning", ["0.weight", "0.bias", "2.weight", "2.bias"])
def test_whatever_learns_alone_gets_its_gradient(learning: str) -> None:
    net, x = pruned(nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4))), torch.randn(50, 12)
    for name, parameter in net.model.named_parameters():
        parameter.requires_grad_(name == learning)
    (wanted,) = torch.autograd.grad(net.model(x).pow(2).sum(), net.model.get_parameter(learning))
    with Switch(net, always_tiles).on() as ran:
        net.model(x).pow(2).sum().backward()
    grads = {name: weight.grad for name, weight in net.model.named_parameters() if weight.grad is not None}
    assert len(ran) == 2 and grads.keys() == {learning}
    assert close(grads[learning], wanted * net.masks.get(learning, torch.ones(())))


def test_a_copy_that_is_made_within_is_dense() -> None:
    net, x = pruned(Attention()), torch.randn(50, 12)
    with torch.no_grad(), Switch(net, always_tiles).on():
        model = copy.deepcopy(net.model)
        for parameter in model.parameters():
            parameter.fill_(1.0)  # also where the net has zeros
        found = model.query(x)
    assert torch.allclose(found, 1 + x.sum(1, keepdim=True).expand(50, 8), atol=1e-5)
    assert torch.equal(model.query(x), nn.functional.linear(x, model.query.weight, model.query.bias))
    assert net.model.query.weight.ne(1).any()


def test_an_error_within_leaves_the_net_as_it_was() -> None:
    net = pruned(Attention())
    before = {path: dict(vars(module)) for path, module in net.model.named_modules()}
    wrong = torch.randn(50, 13)
    with pytest.raises(RuntimeError), Switch(net, always_tiles).on():
        net.model(wrong)
    assert {path: dict(vars(module)) for path, module in net.model.named_modules()} == before


def test_weights_are_read_at_each_pass() -> None:
    net, x = pruned(Attention()), torch.randn(50, 12)
    with torch.no_grad(), Switch(net, always_tiles).on():
        first = net.model.query(x)
        net.model.query.weight.data.mul_(2)  # a write that torch does not count
        net.model.query.bias.zero_()
        second = net.model.query(x)
    assert close(second, nn.functional.linear(x, net.model.query.weight))
    assert not torch.equal(first, second)


def test_an_input_that_was_written_to_is_read_again() -> None:
    net, x = pruned(Attention()), torch.randn(50, 12)
    with Switch(net, always_tiles).on():
        net.model.query(x)
        x.mul_(3)
        found = net.model.key(x)
    assert close(found, nn.functional.linear(x, net.model.key.weight))


def test_new_masks_have_new_layouts_and_equal_masks_keep_theirs() -> None:
    net, x = pruned(Attention()), torch.randn(50, 12)
    switch = Switch(net, always_tiles)
    with switch.on():
        first = {name: each.layout for name, each in switch._served.items() if each}
    masks = {name: mask.clone() for name, mask in net.masks.items()}
    masks["query.weight"] = masks["query.weight"].roll(1)
    net.set_masks(masks)
    nn.init.normal_(net.model.query.weight)
    net.apply_masks()
    with switch.on(), torch.no_grad():
        found = net.model.query(x)
    second = {name: each.layout for name, each in switch._served.items() if each}
    assert close(found, nn.functional.linear(x, net.model.query.weight, net.model.query.bias))
    assert [name for name in first if first[name] is not second[name]] == ["query.weight"]


def test_maps_whose_masks_are_gone_are_dense() -> None:
    net = pruned(Attention())
    switch = Switch(net, always_tiles)
    with switch.on():
        pass
    net.masks = {}
    with switch.on():
        assert "forward" not in vars(net.model.query)


def test_tied_weights_and_matrices_in_no_linear_layer_stay_dense_and_say_why() -> None:
    model = nn.ModuleDict({"words": nn.Embedding(9, 8), "out": nn.Linear(8, 9), "gru": nn.GRU(8, 8)})
    model["out"].weight = model["words"].weight
    switch = Switch(pruned(model), always_tiles)
    assert switch.reasons == {
        "words.weight": "tied",
        "gru.weight_ih_l0": "in no linear layer",
        "gru.weight_hh_l0": "in no linear layer",
    }
    with switch.on():
        assert "forward" not in vars(model["out"])


class Doubled(nn.Linear):
    """Computes something else than a linear map."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return 2 * super().forward(input)


def test_a_subclass_is_in_no_linear_layer() -> None:
    assert Switch(pruned(nn.Sequential(Doubled(8, 8))), always_tiles).reasons == {
        "0.weight": "in no linear layer"
    }


@pytest.mark.parametrize("density", [0.3, 0.9])
def test_maps_that_are_not_sparse_enough_are_not_served(density: float) -> None:
    net = pruned(nn.Sequential(nn.Linear(40, 40)), density)
    with Switch(net, always_tiles).on():
        assert ("forward" in vars(net.model[0])) == (density == 0.3)


def test_half_precision_and_transforms_stay_dense() -> None:
    net, x = pruned(nn.Sequential(nn.Linear(8, 8))), torch.randn(50, 8)
    switch = Switch(net, always_tiles)
    with torch.autocast("cpu", torch.bfloat16):
        dense = net.model(x)
        with switch.on() as ran:
            assert torch.equal(net.model(x), dense)
    assert ran == set()
    with switch.on() as ran:
        torch.func.vmap(net.model)(x)
        net.model.double()(x.double())
    assert ran == set()


def test_a_weight_that_stands_in_for_another_is_dense() -> None:
    net, x = pruned(nn.Sequential(nn.Linear(8, 8))), torch.randn(50, 8)
    other = {"0.weight": torch.ones(8, 8), "0.bias": torch.zeros(8)}
    with Switch(net, always_tiles).on() as ran:
        found = torch.func.functional_call(net.model, other, (x,))
    assert ran == set() and close(found, x.sum(1, keepdim=True).expand(50, 8))


def test_second_derivatives_are_refused() -> None:
    net, x = pruned(nn.Sequential(nn.Linear(8, 8))), torch.randn(50, 8, requires_grad=True)
    with Switch(net, always_tiles).on(), pytest.raises(UsageError, match="run with --kernels dense"):
        torch.autograd.grad(net.model(x).pow(2).sum(), x, create_graph=True)


def test_a_question_is_asked_once_for_all_rows_between_two_powers_of_two() -> None:
    asked: list[int] = []

    def choose(question: KernelQuestion) -> Choice:
        asked.append(question.rows)
        return Choice()

    net = pruned(nn.Sequential(nn.Linear(8, 8)))
    with Switch(net, choose).on() as ran:
        for rows in (64, 100, 127, 128, 64):
            net.model(torch.randn(rows, 8))
    assert asked == [64, 128] and ran == set()
