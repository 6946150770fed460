"""Operations: by hand, against torch's own counter, and for the right weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from smc_eval.sparse.operations import FORMULAS, Counting, Operations
from smc_eval.tasks.arithmetic.sequence import BiLSTM

X = torch.randn(2, 5, 4)  # 2 sentences of 5 positions of 4 features


def counted(model: nn.Module, run: Callable[[], Any]) -> Operations:
    found = Operations()
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.ndim > 1}
    with Counting(weights, found):
        run()
    return found


def data() -> Tensor:
    return X.clone().requires_grad_()


def test_operations_of_two_layers_forward_and_backward_by_hand() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    found = counted(model, lambda: model(X).sum().backward())
    once = {"0.weight": 2 * 10 * 4 * 3, "2.weight": 2 * 10 * 3 * 2}
    # the data needs no gradient
    assert found.products == {"0.weight": once["0.weight"], "2.weight": 2 * once["2.weight"]}
    assert found.slopes == once
    assert found.total == sum(found.products.values()) + sum(found.slopes.values())


@pytest.mark.parametrize("name", ["mm", "addmm", "bmm", "baddbmm"])
def test_the_formulas_of_products_give_what_those_of_torch_give(name: str) -> None:
    left, right = ((7, 2, 3), (7, 3, 5)) if "b" in name else ((2, 3), (3, 5))
    factors = [torch.randn(left), torch.randn(right)]
    added = [torch.randn(*left[:-1], 5)] if "add" in name else []
    kernel, out = getattr(torch.ops.aten, name), torch.empty(*left[:-1], 5)
    ours, torchs = (table[kernel](*added, *factors, out_val=out) for table in (FORMULAS, flop_registry))
    assert ours == torchs == 2 * 3 * out.numel()


def test_a_forward_pass_alone_has_products_only() -> None:
    model = nn.Linear(4, 3)
    with torch.no_grad():
        found = counted(model, lambda: model(X))
    assert (found.total, found.products, found.slopes) == (240, {"weight": 240}, {})


MODELS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "linear": (lambda: nn.Linear(4, 3), lambda m: m(data())),
    "convolution": (lambda: nn.Conv1d(5, 3, 2), lambda m: m(data())),
    "packed lstm": (
        lambda: nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True),
        lambda m: m(pack_padded_sequence(data(), torch.tensor([5, 3]), batch_first=True))[0].data,
    ),
    "gru": (lambda: nn.GRU(4, 3, batch_first=True), lambda m: m(data())[0]),
    "the solvers' lstm": (
        lambda: BiLSTM(4, 3, 2, 0.0),
        lambda m: m(pack_padded_sequence(data(), torch.tensor([5, 3]), batch_first=True))[0].data,
    ),
    "packed attention": (
        lambda: nn.MultiheadAttention(4, 2, batch_first=True),
        lambda m: m(*[data()] * 3)[0],
    ),
}


@pytest.mark.parametrize("title", MODELS)
def test_the_total_is_that_of_torchs_counter_and_belongs_to_the_weights(title: str) -> None:
    make, run = MODELS[title]
    model = make()
    found = counted(model, lambda: run(model).sum().backward())
    with FlopCounterMode(display=False) as own:
        run(model).sum().backward()
    assert found.total == own.get_total_flops()
    names = {name for name, weight in model.named_parameters() if weight.ndim > 1}
    assert found.products.keys() == found.slopes.keys() == names
    # forward and backward are two products, a weight's own gradient one; a first state has no gradient
    for name in names:
        assert found.slopes[name] <= found.products[name] <= 2 * found.slopes[name] * 5 / 3
    assigned = sum(found.products.values()) + sum(found.slopes.values())
    if title != "packed attention":
        assert assigned == pytest.approx(found.total)
    else:  # rows times rows, two products, three times: 2 heads, 5 x 5 scores, 2 features
        assert found.total - assigned == 3 * 2 * (2 * 2 * 2 * 5 * 5 * 2)


def test_a_fused_lstm_has_the_operations_of_its_steps() -> None:
    model = nn.LSTM(4, 3, batch_first=True)
    with torch.no_grad():
        fused = counted(model, lambda: model(X))
        stepped = Operations()
        cell = nn.LSTMCell(4, 3)
        for step in range(5):
            part = counted(cell, lambda at=step: cell(X[:, at]))  # type: ignore[misc]
            stepped.total += part.total
    assert fused.total == stepped.total == 2 * 10 * (12 * 4 + 12 * 3)
    assert fused.products == {"weight_ih_l0": 2 * 10 * 12 * 4, "weight_hh_l0": 2 * 10 * 12 * 3}


def test_fused_attention_on_a_cpu_has_the_operations_of_written_out_attention() -> None:
    def attention(*, fused: bool) -> Operations:
        q, k, v = (torch.randn(2, 2, 5, 2, requires_grad=True) for _ in range(3))
        if fused:
            return counted(nn.Identity(), lambda: nn.functional.scaled_dot_product_attention(q, k, v))
        return counted(nn.Identity(), lambda: (q @ k.mT).softmax(-1) @ v)

    assert attention(fused=True).total == attention(fused=False).total == 2 * (2 * 2 * 2 * 5 * 5 * 2)


def test_a_layer_in_one_kernel_has_the_operations_of_many_kernels() -> None:
    model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    with torch.no_grad():
        one = counted(model, lambda: model(X))
    many = counted(model, lambda: model(X))
    assert (one.total, one.products) == (many.total, many.products) and one.total > 0


def run_of(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Operations:
    """The operations of a function forward and backward; its first factor is the weight."""
    weight, *others = (torch.randn(shape, requires_grad=True) for shape in shapes)
    found = Operations()
    with Counting({"w": weight.detach()}, found):
        function(weight, *others).sum().backward()
    return found


@pytest.mark.parametrize(
    ("function", "shapes", "forward"),
    [
        (torch.mv, [(3, 4), (4,)], 2 * 3 * 4),
        (lambda w, x: w @ x, [(3, 4), (4,)], 2 * 3 * 4),
        (lambda w, x: torch.addmv(torch.zeros(3), w, x), [(3, 4), (4,)], 2 * 3 * 4),
        (torch.dot, [(5,), (5,)], 2 * 5),
        (torch.vdot, [(5,), (5,)], 2 * 5),
        (lambda w, x: torch.addr(torch.zeros(5, 3), w, x), [(5,), (3,)], 2 * 5 * 3),
        (lambda w, x: torch.zeros(3).addmv_(w, x), [(3, 4), (4,)], 2 * 3 * 4),
        (lambda w, x: torch.zeros(3, 2).addmm_(w, x), [(3, 4), (4, 2)], 2 * 3 * 4 * 2),
        (lambda w, x: torch.zeros(7, 3, 2).baddbmm_(w, x), [(7, 3, 4), (7, 4, 2)], 2 * 7 * 3 * 4 * 2),
        (lambda w, x: torch.addbmm(torch.zeros(3, 2), w, x), [(7, 3, 4), (7, 4, 2)], 2 * 7 * 3 * 4 * 2),
    ],
)
def test_products_with_vectors_are_counted_for_their_weight(function: Any, shapes: Any, forward: int) -> None:
    with torch.no_grad():
        found = run_of_forward(function, shapes)
    assert (found.total, found.products, found.uncounted) == (forward, {"w": forward}, {})
    assert run_of(function, *shapes).total >= forward


def run_of_forward(function: Callable[..., Any], shapes: list[tuple[int, ...]]) -> Operations:
    weight, *others = (torch.randn(shape) for shape in shapes)
    found = Operations()
    with Counting({"w": weight}, found):
        function(weight, *others)
    return found


def test_a_bilinear_layer_is_counted_forward_and_backward() -> None:
    model = nn.Bilinear(4, 6, 3)
    left, right = torch.randn(5, 4, requires_grad=True), torch.randn(5, 6, requires_grad=True)
    found = counted(model, lambda: model(left, right).sum().backward())
    once = 3 * 5 * 3 * 4 * 6  # rows, outputs, two inputs: two multiplications and an addition
    assert found.products == {"weight": 3 * once}  # forward, and the gradients of both inputs
    assert found.slopes == {"weight": once} and found.total == 4 * once and not found.uncounted


@pytest.mark.parametrize(
    ("run", "kernel"),
    [
        (lambda: torch.fft.fft(torch.randn(8)), "aten._fft_r2c"),
        (lambda: torch.cdist(torch.randn(30, 4), torch.randn(30, 4)), "aten._euclidean_dist"),
        (lambda: torch.linalg.solve(torch.eye(3), torch.ones(3)), "aten._linalg_solve_ex"),
        (lambda: foreign(torch.ones(2)), "smc_eval_tests.twice"),
    ],
)
def test_a_product_without_a_formula_is_named(run: Callable[[], Any], kernel: str) -> None:
    found = counted(nn.Identity(), run)
    assert found.total == 0 and found.uncounted == {kernel: 1}


@torch.library.custom_op("smc_eval_tests::twice", mutates_args=())
def foreign(x: Tensor) -> Tensor:
    return 2 * x


def test_what_multiplies_no_matrices_is_not_called_uncounted() -> None:
    def run() -> None:
        x = torch.randn(4, 8, requires_grad=True)
        y = nn.functional.layer_norm(nn.functional.gelu(x), (8,)).softmax(-1).tanh()
        y = y + torch.linalg.vector_norm(x) + nn.functional.interpolate(y[None], size=8, mode="linear")[0]
        y = y * nn.functional.embedding(torch.zeros(4, dtype=torch.long), torch.randn(3, 8)) + x.mean().abs()
        torch.linalg.cross(y[:, :3], x[:, :3]).sum().backward()
        nn.LSTM(8, 5, batch_first=True)(x[None])[0].sum().backward()
        nn.GRUCell(8, 5)(x).sum().backward()

    assert counted(nn.Identity(), run).uncounted == {}


class Tied(nn.Module):
    """A table tied to the output layer, and a functional layer that uses half of a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.wide = nn.Embedding(7, 4), nn.Linear(8, 4, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        half = nn.functional.linear(self.table(ids), self.wide.weight[:, 4:])
        return nn.functional.linear(half, self.table.weight)


def test_tied_functional_and_partial_uses_belong_to_the_weight() -> None:
    model = Tied()
    found = counted(model, lambda: model(torch.zeros(10, dtype=torch.long)).sum().backward())
    table, half = 2 * 10 * 7 * 4, 2 * 10 * 4 * 4
    assert found.products == {"table.weight": 2 * table, "wide.weight": 2 * half}
    assert found.slopes == {"table.weight": table, "wide.weight": half}


def test_a_copy_by_autocast_counts_as_the_weight() -> None:
    model = nn.Linear(4, 3)

    def run() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = model(data())
        outputs.sum().backward()

    found = counted(model, run)
    assert found.products == {"weight": 480} and found.slopes == {"weight": 240}


def test_recomputed_activations_are_counted_again() -> None:
    model = nn.Linear(4, 3)
    found = counted(model, lambda: checkpoint(model, data(), use_reentrant=False).sum().backward())
    assert found.slopes == {"weight": 240} and found.products["weight"] >= 480


def test_operations_of_other_weights_are_in_the_total_alone() -> None:
    model, other = nn.Linear(4, 3), nn.Linear(3, 2)
    found = counted(model, lambda: other(model(X)).sum().backward())
    assert found.products == {"weight": 240} and found.slopes == {"weight": 240}
    assert found.total == 240 * 2 + 120 * 3
