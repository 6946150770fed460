"""Orders of inputs for N:M: by hand, and against all orders."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.sparse.channels import _gains, assignment, best_order, dealt, kept_sum
from smc_eval.sparse.pattern import grouped


def scores(outputs: int, inputs: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.rand(inputs, generator=generator) ** 2
    return (torch.rand(outputs, inputs, generator=generator) * sizes).double()


def test_two_large_inputs_of_one_group_come_into_two_groups() -> None:
    # 1:2 keeps 9 of (9, 8) and 2 of (1, 2): 11. In the order (1, 9), (2, 8) it keeps 9 + 8 = 17.
    score = torch.tensor([[9.0, 8.0, 1.0, 2.0]])
    assert kept_sum(score, 1, 2) == 11
    order = best_order(score, 1, 2)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    assert kept_sum(score[:, order], 1, 2) == 17
    assert {frozenset(order[:2].tolist()), frozenset(order[2:].tolist())} in (
        {frozenset({0, 2}), frozenset({1, 3})},
        {frozenset({0, 3}), frozenset({1, 2})},
    )


def test_inputs_are_dealt_forwards_and_backwards() -> None:
    # ranks 0 1 2, then 5 4 3, then 6 7 8 for the three groups; input 8 has rank 0 here, input 0 rank 8
    assert dealt(torch.arange(9.0).flip(0), 3).tolist() == [[8, 3, 2], [7, 4, 1], [6, 5, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_near_the_best_of_all(seed: int) -> None:
    score = scores(4, 6, seed)
    best = max(kept_sum(score[:, list(order)], 2, 3) for order in permutations(range(6)))
    own = kept_sum(score[:, best_order(score, 2, 3)], 2, 3)
    assert kept_sum(score, 2, 3) <= own <= best
    assert own > 0.98 * best


@given(st.integers(1, 5), st.integers(0, 14), st.integers(2, 4), st.integers(0, 9))
def test_an_order_holds_each_input_once_and_never_keeps_less(
    outputs: int, inputs: int, m: int, seed: int
) -> None:
    score, n = scores(outputs, inputs, seed), 1 + seed % (m - 1)
    order = best_order(score, n, m)
    assert sorted(order.tolist()) == list(range(inputs))
    last = inputs - inputs % m
    assert order[last:].tolist() == list(range(last, inputs))  # after the last whole group
    kept = (score[:, order] * grouped(score[:, order], n, m)).sum()
    assert float(kept) >= float((score * grouped(score, n, m)).sum()) - 1e-12


def test_each_place_is_handed_out_for_the_most_that_can_be_kept() -> None:
    score, n = scores(5, 8, 3), 2
    others, given_up = torch.tensor([[0, 1, 2], [4, 5, 6]]), torch.tensor([3, 7])
    gains = _gains(score, others, given_up, n)
    for group in range(2):
        kept = [
            float(score[:, [*others[group].tolist(), each]].topk(n, dim=1).values.sum())
            for each in given_up.tolist()
        ]
        assert float(gains[group, 1] - gains[group, 0]) == pytest.approx(kept[1] - kept[0])


@given(size=st.integers(1, 6), seed=st.integers(0, 1000), whole=st.booleans())
def test_an_assignment_is_the_best_of_all(size: int, seed: int, *, whole: bool) -> None:
    generator = np.random.default_rng(seed)
    gains = generator.integers(-2, 3, (size, size)) * 1.0 if whole else generator.normal(size=(size, size))
    columns = assignment(gains).numpy()
    assert sorted(columns) == list(range(size))
    best = max(sum(gains[row, to] for row, to in enumerate(order)) for order in permutations(range(size)))
    assert gains[np.arange(size), columns].sum() == pytest.approx(best)


def test_one_group_or_none_keeps_its_order() -> None:
    for inputs, n, m in ((5, 2, 4), (3, 2, 4), (0, 1, 2)):
        assert best_order(scores(2, inputs, 0), n, m).tolist() == list(range(inputs))


def test_scores_of_zero_keep_their_order() -> None:
    assert best_order(torch.zeros(3, 8), 2, 4).tolist() == list(range(8))
