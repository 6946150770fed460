"""Weighted draws: exact counts, and the probabilities of drawing one by one."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.sparse.weighted_draw import drawn


def everywhere(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.bool)


def one_by_one(weights: list[float], count: int) -> dict[tuple[int, ...], float]:
    """The probability of each set of positions, over all orders in which it can be drawn."""
    chances: dict[tuple[int, ...], float] = {}
    for order in itertools.permutations(range(len(weights)), count):
        left, chance = sum(weights), 1.0
        for place in order:
            chance *= weights[place] / left
            left -= weights[place]
        key = tuple(sorted(order))
        chances[key] = chances.get(key, 0.0) + chance
    return chances


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_sets_are_as_likely_as_if_drawn_one_by_one(power: float) -> None:
    weights, draws = torch.tensor([0.5, 1.0, 1.5, 2.0]), 1500
    generator = torch.Generator().manual_seed(0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        found = tuple(drawn(weights, everywhere(4), 2, generator, power=power).nonzero()[:, 0].tolist())
        counts[found] = counts.get(found, 0) + 1
    for key, chance in one_by_one([float(w) ** power for w in weights], 2).items():
        assert counts.get(key, 0) / draws == pytest.approx(chance, abs=4 * (chance / draws) ** 0.5 + 1e-3)


@given(
    st.lists(st.sampled_from([0.0, 1e-30, 0.5, 1.0, 1e30]), min_size=1, max_size=12),
    st.data(),
    st.sampled_from([1.0, 9.0, 500.0]),
)
def test_so_many_are_drawn_as_asked_and_zeros_come_last(
    sizes: list[float], data: st.DataObject, power: float
) -> None:
    weights = torch.tensor(sizes)
    within = torch.tensor([data.draw(st.booleans()) for _ in sizes])
    count = data.draw(st.integers(0, int(within.sum())))
    before = weights.clone()
    mask = drawn(weights, within, count, torch.Generator().manual_seed(count), power=power)
    assert int(mask.sum()) == count and not (mask & ~within).any()
    assert torch.equal(weights, before)
    positive = within & (weights > 0)
    assert int((mask & positive).sum()) == min(count, int(positive.sum()))


def test_a_high_power_takes_the_largest_although_the_powers_are_no_floats() -> None:
    weights = torch.tensor([1e-3, 2e-3, 3e-3, 1e-4])  # to the power of 2000 these are zero
    mask = drawn(weights, everywhere(4), 2, torch.Generator().manual_seed(0), power=2000.0)
    assert mask.tolist() == [False, True, True, False]
    assert torch.equal(drawn(weights.double(), everywhere(4), 4, torch.Generator()), everywhere(4))


def test_zeros_are_drawn_at_random() -> None:
    found = {
        int(drawn(torch.zeros(5), everywhere(5), 1, torch.Generator().manual_seed(seed)).nonzero())
        for seed in range(60)
    }
    assert found == {0, 1, 2, 3, 4}
