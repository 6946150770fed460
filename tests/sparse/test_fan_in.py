"""Fan-in: an exchange by hand, an independent statement in loops, and counts on any tensor."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.sparse.fan_in import ablated, exchanged, fan_in_range
from smc_eval.sparse.pattern import rowwise

WEIGHT = torch.tensor([[4.0, 3.0, 0.0, 0.0], [0.2, 0.1, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]])
GRADIENT = torch.tensor([[0.0, 0.0, 0.5, 0.9], [0.1, 0.1, 0.1, 0.2], [0.8, 0.3, 9.0, 0.0]])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_neuron_without_salient_weights_is_ablated_as_by_hand() -> None:
    # six weights, of which a third are pruned: 0.2 and 0.1. Salient are 4, 3, 2 and 1, and the weights of
    # the gradients 9 and 0.9. The middle neuron has none of them, and one is demanded (0.5 of a fan-in of 2).
    # Its two weights go to the others, so each has three: the first grows 0.9, the last 0.8.
    mask = exchanged(WEIGHT, GRADIENT, WEIGHT != 0, 1 / 3, generator(), salient_share=0.5)
    assert mask.int().tolist() == [[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1]]
    assert fan_in_range(mask) == (3, 3)


def test_without_ablation_each_neuron_keeps_its_fan_in() -> None:
    mask = exchanged(WEIGHT, GRADIENT, WEIGHT != 0, 1 / 3, generator(), salient_share=0.0)
    # the middle neuron lost both weights, and grows 0.2 and, of three gradients of 0.1, the first
    assert mask.int().tolist() == [[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 1]]


def test_a_remainder_goes_to_the_first_neurons_and_a_dead_neuron_may_return() -> None:
    weight = torch.tensor([[5.0, 4.0, 3.0], [0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
    gradient = torch.tensor([[0.0, 0.0, 0.0], [7.0, 9.0, 8.0], [0.0, 0.0, 1.0]])
    mask = exchanged(weight, gradient, weight != 0, 0.4, generator(), salient_share=0.0)
    # five weights over three neurons: 2, 2 and 1. The first loses 3, the last loses both and grows 1
    assert mask.int().tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert fan_in_range(mask) == (1, 2)
    # salient are 5, 4, 3 and the gradients 9 and 8: the last is ablated, and five over two are 3 and 2
    mask = exchanged(weight, gradient, weight != 0, 0.4, generator(), salient_share=0.3)
    assert mask.int().tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 0]]


def test_so_many_neurons_stay_as_the_weights_need() -> None:
    # 7 weights need two neurons of four columns: the two most salient stay, although 3 are demanded of each
    salient = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]).bool()
    assert ablated(salient, 7, 1.0).tolist() == [False, True, False]
    assert ablated(salient, 9, 0.9).tolist() == [False, False, False]  # all three are needed


def in_loops(weight: Tensor, gradient: Tensor, mask: Tensor, share: float, salient_share: float) -> Tensor:
    """The exchange in plain Python, over sorted lists; gradients differ, and none is zero."""
    rows, columns = weight.shape
    places = [(i, j) for i in range(rows) for j in range(columns)]
    live = [place for place in places if mask[place]]
    pruned = math.ceil(len(live) * share - 1e-9)
    strong = sorted(live, key=lambda p: -abs(float(weight[p])))[: len(live) - pruned]
    steep = sorted(places, key=lambda p: -abs(float(gradient[p])))[:pruned]
    salient = [sum(i == row for i, _ in {*strong, *steep}) for row in range(rows)]
    wanted = max(1, int(salient_share * (len(live) // rows)))
    wanted = min(wanted, sorted(salient, reverse=True)[min(len(live) // columns, rows - 1)])
    stay = [row for row in range(rows) if salient[row] >= wanted or not salient_share]
    left = sorted((p for p in live if p[0] in stay), key=lambda p: -abs(float(weight[p])))
    left = left[: len(live) - pruned]
    new = torch.zeros_like(mask)
    for number, row in enumerate(stay):
        fan_in = len(live) // len(stay) + (number < len(live) % len(stay))
        own = [p for p in left if p[0] == row][:fan_in]
        others = [p for p in places if p[0] == row and p not in own]
        grow = sorted(others, key=lambda p: -abs(float(gradient[p])))[: fan_in - len(own)]
        for place in own + grow:
            new[place] = True
    return new


@given(
    st.integers(1, 8),
    st.integers(1, 8),
    st.data(),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3, 0.95]),
)
def test_an_exchange_is_that_of_loops_and_keeps_count_and_fan_in(
    rows: int, columns: int, data: st.DataObject, share: float, salient_share: float
) -> None:
    total = data.draw(st.integers(1, rows * columns))
    source = generator(data.draw(st.integers(0, 2**30)))
    mask = rowwise(torch.rand(rows, columns, generator=source), total)
    uneven = torch.rand(rows, 1, generator=source) ** 3
    weight = torch.randn(rows, columns, generator=source) * uneven * mask
    gradient = torch.randn(rows, columns, generator=source) * torch.rand(rows, 1, generator=source)
    new = exchanged(weight, gradient, mask, share, source, salient_share=salient_share)
    assert int(new.sum()) == total
    least, most = fan_in_range(new)
    assert most - least <= 1
    assert torch.equal(new, in_loops(weight, gradient, mask, share, salient_share))


def test_where_gradients_are_zero_a_neuron_grows_at_random() -> None:
    weight, mask = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[True, False, False, False]])
    grown = {
        int(
            exchanged(weight, torch.zeros(1, 4), mask, 1.0, generator(seed), salient_share=0.3).nonzero()[
                0, 1
            ]
        )
        for seed in range(60)
    }
    assert grown == {0, 1, 2, 3}


@pytest.mark.parametrize("rows", [[0, 0], [2, 3], [4, 4]])
def test_rows_without_weights_have_no_fan_in(rows: list[int]) -> None:
    mask = torch.stack([torch.arange(5) < count for count in [*rows, 0]])
    assert fan_in_range(mask) == (min(rows), max(rows))
