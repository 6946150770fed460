"""Drop and grow: worked out by hand on a 2 x 3 tensor, and counts that hold on any."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.sparse.regrow import dropped, grown, survivors

WEIGHT = torch.tensor([[0.5, -0.1, 0.0], [0.3, 0.0, -0.7]])
ALIVE = torch.tensor([[1, 1, 0], [1, 0, 1]]).bool()
GRADIENT = torch.tensor([[9.0, 0.2, -3.0], [-0.4, 0.1, 8.0]])


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shown(mask: Tensor) -> list[list[int]]:
    return mask.int().tolist()


@pytest.mark.parametrize(
    ("alive", "share", "count"),
    [(10, 0.3, 3), (10, 0.31, 4), (100, 0.55, 55), (3, 0.01, 1), (1, 0.3, 1), (0, 0.3, 0), (7, 1.0, 7)],
)
def test_a_share_is_rounded_up_but_not_by_rounding_errors(alive: int, share: float, count: int) -> None:
    assert dropped(alive, share) == count


def test_the_smallest_go_and_the_steepest_come() -> None:
    stays = survivors(WEIGHT, ALIVE, 0.5)
    assert shown(stays) == [[1, 0, 0], [0, 0, 1]]  # of 0.5, 0.1, 0.3, 0.7 half go
    # room at gradients 0.2, 3, 0.4, 0.1; the steeper ones of 9 and 8 are of weights that stayed
    assert shown(grown(GRADIENT, ~stays, 2, chance())) == [[0, 0, 1], [1, 0, 0]]


def test_what_was_dropped_may_be_grown_at_once() -> None:
    stays = survivors(WEIGHT, ALIVE, 0.25)
    assert shown(stays) == [[1, 0, 0], [1, 0, 1]]
    gradient = torch.tensor([[0.0, 5.0, 1.0], [0.0, 1.0, 0.0]])
    assert shown(stays | grown(gradient, ~stays, 1, chance())) == shown(ALIVE)


def test_signs_lose_the_same_share_each() -> None:
    weight = torch.tensor([[0.1, 0.2, 0.3, 0.4], [-0.5, -0.6, -0.7, -0.8]])
    alive = torch.ones(2, 4).bool()
    assert shown(survivors(weight, alive, 0.5)) == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert shown(survivors(weight, alive, 0.5, signs=True)) == [[0, 0, 1, 1], [0, 0, 1, 1]]


def test_where_there_is_no_gradient_the_lot_decides() -> None:
    gradient = torch.zeros(50, 40)
    gradient[3, :5] = 1.0
    room = torch.ones(50, 40).bool()
    room[3, 0] = False
    first, again, other = (grown(gradient, room, 104, chance(seed)) for seed in (1, 1, 2))
    assert int(first.sum()) == 104
    assert first[3, 1:5].all() and not first[3, 0]  # the four with a gradient, and a hundred more
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(set(first.nonzero()[:, 0].tolist())) > 25  # of 50 rows: not the first ones alone


def test_without_a_gradient_all_is_drawn() -> None:
    room = torch.zeros(20, 20).bool()
    room[:, :10] = True
    mask = grown(None, room, 60, chance())
    assert int(mask.sum()) == 60 and not mask[:, 10:].any()


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, gradients and a mask: empty, full, or anything between; gradients may be all zero."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    generator = chance(draw(st.integers(0, 2**30)))
    alive = torch.rand(shape, generator=generator) < draw(st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
    weight = torch.randn(shape, generator=generator) * alive
    if draw(st.booleans()):  # what grew lately and has not moved yet
        weight *= torch.rand(shape, generator=generator) < 0.5
    steep = torch.rand(shape, generator=generator) < draw(st.sampled_from([0.0, 0.1, 1.0]))
    return weight, torch.randn(shape, generator=generator) * steep, alive


@given(tensors(), st.floats(0, 1), st.booleans(), st.booleans())
def test_any_tensor_keeps_its_count(
    drawn: tuple[Tensor, Tensor, Tensor], share: float, signs: Any, steep: Any
) -> None:
    weight, gradient, alive = drawn
    stays = survivors(weight, alive, share, signs=signs)
    assert not (stays & ~alive).any()
    count = int(alive.sum()) - int(stays.sum())
    if not signs:
        assert count == dropped(int(alive.sum()), share)
        gone = alive & ~stays
        if gone.any() and stays.any():
            assert weight[gone].abs().max() <= weight[stays].abs().min()
    come = grown(gradient if steep else None, ~stays, count, chance())
    assert not (come & stays).any()
    assert int((stays | come).sum()) == int(alive.sum())
    left = ~stays & ~come
    if steep and come.any() and left.any():
        assert gradient[come].abs().min() >= gradient[left].abs().max()
