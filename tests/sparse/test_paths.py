"""Paths: by hand, against a search through the graph, through every kind of net."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from smc_eval.sparse.net import Net
from smc_eval.sparse.paths import Untraceable, on_paths
from smc_eval.sparse.scope import in_scope


def bits(*rows: list[int]) -> Tensor:
    return torch.tensor(rows).bool()


def masked(model: nn.Module, **masks: Tensor) -> Net:
    """A net with masks by name, with `__` for a dot; other tensors stay whole."""
    net = Net(model, in_scope(model, "body"))
    net.set_masks(net.full_masks | {name.replace("__", "."): mask for name, mask in masks.items()})
    return net


def traced(net: Net, *inputs: Tensor) -> dict[str, list[list[int]]]:
    found = on_paths(net, lambda dark: cast("Tensor", dark(*inputs)))
    return {name: mask.int().tolist() for name, mask in found.items()}


@pytest.mark.parametrize("middle", [nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.LayerNorm(2), nn.Softplus()])
@pytest.mark.parametrize("bias", [False, True])
def test_a_column_behind_a_dead_row_is_on_no_path(middle: nn.Module, *, bias: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=bias), middle, nn.Linear(2, 2, bias=bias))
    net = masked(model, **{"0__weight": bits([1, 1], [0, 0])})
    # unit 1 has no input: 2 of the 4 weights of the second layer read it
    assert traced(net, torch.ones(1, 2)) == {"0.weight": [[1, 1], [0, 0]], "2.weight": [[1, 0], [1, 0]]}


def test_a_row_before_a_dead_column_is_on_no_path() -> None:
    net = masked(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), **{"2__weight": bits([1, 0])})
    assert traced(net, torch.ones(1, 2)) == {"0.weight": [[1, 1], [0, 0]], "2.weight": [[1, 0]]}


class Residual(nn.Module):
    """C (x + B relu(A x)) of an embedded x; without the shortcut C B relu(A x)."""

    def __init__(self, *, shortcut: bool = True) -> None:
        super().__init__()
        self.table, self.shortcut = nn.Embedding(3, 2), shortcut
        self.a, self.b, self.c = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        branch = self.b(torch.relu(self.a(x)))
        return cast("Tensor", self.c(x + branch if self.shortcut else branch))


def test_a_shortcut_is_a_path_around_a_pruned_branch() -> None:
    masks = {"a__weight": bits([1, 1], [0, 0]), "b__weight": bits([0, 0], [1, 1])}
    paths = {"a.weight": [[1, 1], [0, 0]], "b.weight": [[0, 0], [1, 0]]}
    ids = torch.zeros(1, dtype=torch.long)
    assert traced(masked(Residual(), **masks), ids) == paths | {"c.weight": [[1, 1]]}
    assert traced(masked(Residual(shortcut=False), **masks), ids) == paths | {"c.weight": [[0, 1]]}


class Tied(nn.Module):
    """One matrix, used two times in sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.second(self.first(x)))


def test_a_tied_weight_is_on_a_path_if_one_of_its_uses_is() -> None:
    # 0 -> 1 in the first use, and nothing reads 1 in the second: no use is on a path
    assert traced(masked(Tied(), first__weight=bits([0, 0], [1, 0])), torch.ones(1, 2)) == {
        "first.weight": [[0, 0], [0, 0]]
    }
    # 0 -> 0 -> 1: the weight below is used in the second step alone
    assert traced(masked(Tied(), first__weight=bits([1, 0], [1, 0])), torch.ones(1, 2)) == {
        "first.weight": [[1, 0], [1, 0]]
    }


class Gate(nn.Module):
    """tanh(V x) * sigmoid(G x)."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.value(x)) * torch.sigmoid(self.gate(x))


def test_a_pruned_gate_stays_half_open_and_a_pruned_value_closes_its_gate() -> None:
    net = masked(Gate(), value__weight=bits([1, 1], [0, 0]), gate__weight=bits([0, 0], [1, 1]))
    assert traced(net, torch.ones(1, 2)) == {
        "value.weight": [[1, 1], [0, 0]],
        "gate.weight": [[0, 0], [0, 0]],
    }


class Attention(nn.Module):
    """One head of attention over positions."""

    def __init__(self, *, bias: bool, fused: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 2)
        self.query, self.key, self.value = (nn.Linear(2, 2, bias=bias) for _ in range(3))
        self.fused = fused

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        q, k, v = self.query(x), self.key(x), self.value(x)
        if self.fused:
            return nn.functional.scaled_dot_product_attention(q, k, v)
        return cast("Tensor", (q @ k.transpose(-2, -1)).softmax(-1) @ v)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_attention_without_queries_is_uniform_and_its_values_are_on_paths(*, bias: bool, fused: bool) -> None:
    net = masked(Attention(bias=bias, fused=fused), query__weight=bits([0, 0], [0, 0]))
    found = traced(net, torch.ones(1, 3, dtype=torch.long))
    assert found["value.weight"] == [[1, 1], [1, 1]]
    # keys have no effect, unless queries have a bias
    assert found["key.weight"] == ([[1, 1], [1, 1]] if bias else [[0, 0], [0, 0]])


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dead", ["value", "key"])
def test_queries_lead_nowhere_where_all_values_or_all_keys_are_constants(
    dead: str, *, bias: bool, fused: bool
) -> None:
    net = masked(Attention(bias=bias, fused=fused), **{f"{dead}__weight": bits([0, 0], [0, 0])})
    found = traced(net, torch.arange(3)[None])
    rest = [[0, 0], [0, 0]] if dead == "value" else [[1, 1], [1, 1]]
    assert [found.get(f"{name}.weight", [[0, 0], [0, 0]]) for name in ("query", "key", "value")] == [
        [[0, 0], [0, 0]],
        [[0, 0], [0, 0]],
        rest,
    ]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("bias", [False, True])
def test_a_recurrent_unit_without_input_is_zero_or_shifts_the_units_that_read_it(
    kind: Any, *, bias: bool
) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.out = kind(1, 2, batch_first=True, bias=bias), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return cast("Tensor", self.out(self.net(x)[0]))

    model = Reader()
    gates = len(model.net.weight_ih_l0) // 2
    net = masked(
        model,
        net__weight_ih_l0=bits([1], [0]).repeat(gates, 1),
        net__weight_hh_l0=bits([1, 1], [0, 1]).repeat(gates, 1),
    )
    found = traced(net, torch.ones(1, 3, 1))
    # unit 1 reads only itself: it is 0, or a constant that shifts the curve of unit 0 in each later step
    assert found["net.weight_hh_l0"] == ([[1, 1], [0, 1]] if bias else [[1, 0], [0, 0]]) * gates
    assert found["out.weight"] == [[1, 0]]
    net.set_masks(net.full_masks | {"net.weight_hh_l0": bits([0, 0], [1, 0]).repeat(gates, 1)})
    found = traced(net, torch.ones(1, 3, 1))
    assert found["net.weight_hh_l0"] == [[0, 0], [1, 0]] * gates and found["out.weight"] == [[1, 1]]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 10_000), st.floats(0.1, 0.9))
def test_paths_of_a_chain_are_those_of_a_search_from_both_ends(
    widths: list[int], seed: int, density: float
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(*(part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())))
    masks = [torch.rand(b, a) < density for a, b in pairwise(widths)]
    net = masked(model, **{f"{2 * n}__weight": mask for n, mask in enumerate(masks)})
    reached, leaving = [torch.ones(widths[0]).bool()], [torch.ones(widths[-1]).bool()]
    for mask in masks:
        reached.append((mask & reached[-1]).any(1))
    for mask in reversed(masks):
        leaving.append((mask & leaving[-1][:, None]).any(0))
    found = traced(net, torch.ones(1, widths[0]))
    for n, mask in enumerate(masks):
        expected = mask & reached[n] & leaving[-2 - n][:, None]
        assert found[f"{2 * n}.weight"] == expected.int().tolist()


def test_paths_of_80_wide_layers_neither_overflow_nor_vanish() -> None:
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(80)))
    narrow = torch.zeros(64, 64).bool()
    narrow[:, 0] = True
    net = masked(model, **{f"{n}__weight": narrow for n in range(0, 80, 2)})
    found = on_paths(net, lambda dark: cast("Tensor", dark(torch.ones(1, 64))))
    assert [int(mask.sum()) for mask in found.values()] == [64] * 79 + [64 * 64]


def test_paths_are_unknown_if_numbers_leave_the_range_of_floats() -> None:
    model = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(120)))
    net = Net(model, in_scope(model, "body"))
    with pytest.raises(Untraceable, match="leave the range of floats"):
        on_paths(net, lambda dark: cast("Tensor", dark(torch.ones(1, 512))))


def test_paths_through_a_function_that_torch_cannot_differentiate_forwards_are_unknown() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net = Net(model, in_scope(model, "body"))
    with pytest.raises(Untraceable, match="cannot be traced: NotImplementedError: .*_cdist_forward"):
        on_paths(net, lambda dark: torch.cdist(dark(torch.ones(3, 2)), dark(torch.ones(3, 2))))


@pytest.mark.parametrize(
    "data", [torch.ones(1, 2), torch.randn(1, 2), torch.nn.functional.one_hot(torch.tensor([1]))]
)
def test_a_net_of_raw_matrices_is_traced(data: Tensor) -> None:
    net = masked(nn.ParameterDict({"p": torch.ones(2, 2), "q": torch.ones(2, 1)}), p=bits([1, 0], [1, 0]))
    found = on_paths(net, lambda dark: (data.float() @ cast("Any", dark).p).relu() @ cast("Any", dark).q)
    assert {name: mask.int().tolist() for name, mask in found.items()} == {
        "p": [[1, 0], [1, 0]],
        "q": [[1], [0]],
    }


def test_unused_tensors_are_left_out_and_the_net_is_unchanged() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "idle": nn.Linear(2, 2)})
    net = Net(model, in_scope(model, "body"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = on_paths(net, lambda dark: cast("Tensor", cast("Any", dark)["used"](torch.ones(1, 2))))
    assert found is not None and list(found) == ["used.weight"] and found["used.weight"].all()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert on_paths(net, lambda _: torch.ones(1)) == {}
