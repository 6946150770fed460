"""Drop and grow: by hand on a 2 x 3 tensor, and counts on any tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.sparse.regrow import drop_count, grown, remaining_after_drop

WEIGHT = torch.tensor([[0.5, -0.1, 0.0], [0.3, 0.0, -0.7]])
MASK = torch.tensor([[1, 1, 0], [1, 0, 1]]).bool()
GRADIENT = torch.tensor([[9.0, 0.2, -3.0], [-0.4, 0.1, 8.0]])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_list(mask: Tensor) -> list[list[int]]:
    return mask.int().tolist()


@pytest.mark.parametrize(
    ("unpruned", "share", "count"),
    [(10, 0.3, 3), (10, 0.31, 4), (100, 0.55, 55), (3, 0.01, 1), (1, 0.3, 1), (0, 0.3, 0), (7, 1.0, 7)],
)
def test_a_share_is_rounded_up_but_not_for_rounding_errors(unpruned: int, share: float, count: int) -> None:
    assert drop_count(unpruned, share) == count


def test_the_smallest_weights_are_dropped_and_the_steepest_are_grown() -> None:
    stays = remaining_after_drop(WEIGHT, MASK, 0.5)
    assert as_list(stays) == [[1, 0, 0], [0, 0, 1]]  # of 0.5, 0.1, 0.3, 0.7 half are dropped
    # room at gradients 0.2, 3, 0.4, 0.1; the larger gradients 9 and 8 are of remaining weights
    assert as_list(grown(GRADIENT, ~stays, 2, generator())) == [[0, 0, 1], [1, 0, 0]]


def test_a_dropped_weight_may_be_grown_at_once() -> None:
    stays = remaining_after_drop(WEIGHT, MASK, 0.25)
    assert as_list(stays) == [[1, 0, 0], [1, 0, 1]]
    gradient = torch.tensor([[0.0, 5.0, 1.0], [0.0, 1.0, 0.0]])
    assert as_list(stays | grown(gradient, ~stays, 1, generator())) == as_list(MASK)


def test_both_signs_lose_the_same_share() -> None:
    weight = torch.tensor([[0.1, 0.2, 0.3, 0.4], [-0.5, -0.6, -0.7, -0.8]])
    mask = torch.ones(2, 4).bool()
    assert as_list(remaining_after_drop(weight, mask, 0.5)) == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert as_list(remaining_after_drop(weight, mask, 0.5, signs=True)) == [[0, 0, 1, 1], [0, 0, 1, 1]]


def test_places_without_gradient_are_grown_at_random() -> None:
    gradient = torch.zeros(50, 40)
    gradient[3, :5] = 1.0
    room = torch.ones(50, 40).bool()
    room[3, 0] = False
    first, again, other = (grown(gradient, room, 104, generator(seed)) for seed in (1, 1, 2))
    assert int(first.sum()) == 104
    assert first[3, 1:5].all() and not first[3, 0]  # the four with a gradient, and a hundred more
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(set(first.nonzero()[:, 0].tolist())) > 25  # of 50 rows: not the first ones alone


def test_without_gradients_all_places_are_random() -> None:
    room = torch.zeros(20, 20).bool()
    room[:, :10] = True
    mask = grown(None, room, 60, generator())
    assert int(mask.sum()) == 60 and not mask[:, 10:].any()


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, gradients and a mask: empty, full, or anything between; gradients may be all zero."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    rng = generator(draw(st.integers(0, 2**30)))
    mask = torch.rand(shape, generator=rng) < draw(st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
    weight = torch.randn(shape, generator=rng) * mask
    if draw(st.booleans()):  # weights that were grown and are still zero
        weight *= torch.rand(shape, generator=rng) < 0.5
    steep = torch.rand(shape, generator=rng) < draw(st.sampled_from([0.0, 0.1, 1.0]))
    return weight, torch.randn(shape, generator=rng) * steep, mask


@given(tensors(), st.floats(0, 1), st.booleans(), st.booleans())
def test_any_tensor_keeps_its_count(
    drawn: tuple[Tensor, Tensor, Tensor], share: float, signs: Any, steep: Any
) -> None:
    weight, gradient, mask = drawn
    stays = remaining_after_drop(weight, mask, share, signs=signs)
    assert not (stays & ~mask).any()
    count = int(mask.sum()) - int(stays.sum())
    if not signs:
        assert count == drop_count(int(mask.sum()), share)
        dropped = mask & ~stays
        if dropped.any() and stays.any():
            assert weight[dropped].abs().max() <= weight[stays].abs().min()
    new = grown(gradient if steep else None, ~stays, count, generator())
    assert not (new & stays).any()
    assert int((stays | new).sum()) == int(mask.sum())
    left = ~stays & ~new
    if steep and new.any() and left.any():
        assert gradient[new].abs().min() >= gradient[left].abs().max()
