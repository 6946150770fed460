"""Altered masks keep their counts, tensor by tensor and group by group."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.sparse.altered import redrawn, renewed, shuffled
from smc_eval.sparse.pattern import grouped, groups


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    return torch.rand(shape, generator=chance(draw(st.integers(0, 999)))) < draw(st.floats(0, 1))


@given(mask=masks(), seed=st.integers(0, 99))
@pytest.mark.parametrize("alter", [shuffled, redrawn])
def test_as_many_survive_and_the_mask_itself_is_left_alone(alter, mask: Tensor, seed: int) -> None:
    before = mask.clone()
    new = alter(mask, chance(seed))
    assert new.shape == mask.shape and new.dtype == torch.bool
    assert int(new.sum()) == int(mask.sum())
    assert torch.equal(mask, before)
    assert torch.equal(new, alter(mask, chance(seed)))


@given(mask=masks(), seed=st.integers(0, 99), m=st.integers(2, 5))
def test_whole_groups_change_places(mask: Tensor, seed: int, m: int) -> None:
    new = shuffled(mask, chance(seed), m)
    for part, like in zip(groups(new, m), groups(mask, m), strict=True):
        assert sorted(part.reshape(-1, part.shape[-1]).tolist()) == sorted(
            like.reshape(-1, like.shape[-1]).tolist()
        )


@given(mask=masks(), seed=st.integers(0, 99), m=st.integers(2, 5))
def test_lots_within_a_group_leave_it_its_number(mask: Tensor, seed: int, m: int) -> None:
    new = redrawn(mask, chance(seed), m)
    for part, like in zip(groups(new, m), groups(mask, m), strict=True):
        assert torch.equal(part.sum(-1), like.sum(-1))


@pytest.mark.parametrize("alter", [shuffled, redrawn])
@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (4, 3, 5), (3, 2)])
def test_an_n_m_pattern_holds(alter, shape: tuple[int, ...]) -> None:
    mask = grouped(torch.rand(shape, generator=chance(1)), 2, 4)
    new = alter(mask, chance(), 4)
    wanted = grouped(torch.rand(shape, generator=chance(2)), 2, 4)
    for part, like in zip(groups(new, 4), groups(wanted, 4), strict=True):
        assert torch.equal(part.sum(-1), like.sum(-1))


@pytest.mark.parametrize("group", [None, 4])
@pytest.mark.parametrize("alter", [shuffled, redrawn])
def test_every_place_is_as_likely_as_the_next(alter, group: int | None) -> None:
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[:, ::4] = True  # the first of each group
    mean = torch.stack([alter(mask, chance(seed), group).float() for seed in range(800)]).mean(0)
    if alter is shuffled and group:  # groups are all alike, and change places with their like
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


def test_survivors_are_drawn_anew_with_their_own_mean_and_deviation() -> None:
    weight = torch.randn(200, 100, generator=chance(1)) * 3 + 5
    mask = torch.rand(200, 100, generator=chance(2)) < 0.5
    new = renewed(weight * mask, mask, chance())
    assert not new[~mask].any()
    assert float(new[mask].mean()) == pytest.approx(float(weight[mask].mean()), abs=0.15)
    assert float(new[mask].std()) == pytest.approx(float(weight[mask].std()), rel=0.05)
    assert float((new[mask] == weight[mask]).float().mean()) < 0.01


def test_one_survivor_has_no_deviation_and_none_has_no_mean() -> None:
    weight, mask = torch.tensor([[2.0, 0.0]]), torch.tensor([[True, False]])
    assert renewed(weight, mask, chance()).tolist() == [[2.0, 0.0]]
    assert renewed(weight * 0, mask & False, chance()).tolist() == [[0.0, 0.0]]
