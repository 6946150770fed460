"""Altered masks keep the count of each tensor and of each group."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.sparse.altered import random_mask, redrawn_weights, shuffled
from smc_eval.sparse.pattern import grouped, groups


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    return torch.rand(shape, generator=generator(draw(st.integers(0, 999)))) < draw(st.floats(0, 1))


@given(mask=masks(), seed=st.integers(0, 99))
@pytest.mark.parametrize("alter", [shuffled, random_mask])
def test_an_altered_mask_keeps_as_many_weights_and_is_a_new_tensor(alter, mask: Tensor, seed: int) -> None:
    before = mask.clone()
    new = alter(mask, generator(seed))
    assert new.shape == mask.shape and new.dtype == torch.bool
    assert int(new.sum()) == int(mask.sum())
    assert torch.equal(mask, before)
    assert torch.equal(new, alter(mask, generator(seed)))


@given(mask=masks(), seed=st.integers(0, 99), m=st.integers(2, 5))
def test_shuffling_by_groups_keeps_every_group_whole(mask: Tensor, seed: int, m: int) -> None:
    new = shuffled(mask, generator(seed), m)
    for part, like in zip(groups(new, m), groups(mask, m), strict=True):
        assert sorted(part.reshape(-1, part.shape[-1]).tolist()) == sorted(
            like.reshape(-1, like.shape[-1]).tolist()
        )


@given(mask=masks(), seed=st.integers(0, 99), m=st.integers(2, 5))
def test_a_random_mask_by_groups_keeps_as_many_weights_of_each(mask: Tensor, seed: int, m: int) -> None:
    new = random_mask(mask, generator(seed), m)
    for part, like in zip(groups(new, m), groups(mask, m), strict=True):
        assert torch.equal(part.sum(-1), like.sum(-1))


@pytest.mark.parametrize("alter", [shuffled, random_mask])
@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (4, 3, 5), (3, 2)])
def test_an_altered_mask_keeps_its_n_m_pattern(alter, shape: tuple[int, ...]) -> None:
    mask = grouped(torch.rand(shape, generator=generator(1)), 2, 4)
    new = alter(mask, generator(), 4)
    other = grouped(torch.rand(shape, generator=generator(2)), 2, 4)
    for part, like in zip(groups(new, 4), groups(other, 4), strict=True):
        assert torch.equal(part.sum(-1), like.sum(-1))


@pytest.mark.parametrize("group", [None, 4])
@pytest.mark.parametrize("alter", [shuffled, random_mask])
def test_every_position_is_equally_likely(alter, group: int | None) -> None:
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[:, ::4] = True  # the first of each group
    mean = torch.stack([alter(mask, generator(seed), group).float() for seed in range(800)]).mean(0)
    if alter is shuffled and group:  # all groups are equal, so nothing changes
        assert torch.equal(mean, mask.float())
    else:
        assert float((mean - 0.25).abs().max()) < 0.07  # 4.5 standard deviations


def test_groups_are_views_in_the_order_of_the_pattern() -> None:
    tensor = torch.arange(14).view(2, 7)
    whole, rest = groups(tensor, 4)
    assert whole.tolist() == [[[0, 1, 2, 3]], [[7, 8, 9, 10]]] and rest.tolist() == [
        [[4, 5, 6]],
        [[11, 12, 13]],
    ]
    whole.fill_(0)
    assert tensor.sum() == 4 + 5 + 6 + 11 + 12 + 13


def test_redrawn_weights_have_the_same_mean_and_deviation() -> None:
    weight = torch.randn(200, 100, generator=generator(1)) * 3 + 5
    mask = torch.rand(200, 100, generator=generator(2)) < 0.5
    new = redrawn_weights(weight * mask, mask, generator())
    assert not new[~mask].any()
    assert float(new[mask].mean()) == pytest.approx(float(weight[mask].mean()), abs=0.15)
    assert float(new[mask].std()) == pytest.approx(float(weight[mask].std()), rel=0.05)
    assert float((new[mask] == weight[mask]).float().mean()) < 0.01


def test_one_remaining_weight_keeps_its_value_and_no_weight_stays_zero() -> None:
    weight, mask = torch.tensor([[2.0, 0.0]]), torch.tensor([[True, False]])
    assert redrawn_weights(weight, mask, generator()).tolist() == [[2.0, 0.0]]
    assert redrawn_weights(weight * 0, mask & False, generator()).tolist() == [[0.0, 0.0]]
