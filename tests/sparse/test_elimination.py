"""Greedy elimination: by hand, against explicit linear algebra, and under N:M."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.elimination import Rooms, elimination_costs, rooms
from smc_eval.sparse.fisher import DOUBLE, Tile, compensated, removal_costs

seeds = st.integers(0, 10**6)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrices(blocks: int, size: int, seed: int, damping: float = 1e-2) -> Tensor:
    """Damped Fisher matrices of correlated gradients."""
    g_GKB = normal(blocks, 2 * size, size, seed=seed).cumsum(-1).double()
    return g_GKB.mT @ g_GKB / (2 * size) + damping * torch.eye(size, dtype=DOUBLE)


def costs(
    f_GBB: Tensor, w_GB: Tensor, unpruned_GB: Tensor | None = None, limits: Rooms | None = None
) -> Tensor:
    every = torch.ones_like(w_GB).bool()
    return elimination_costs("w", f_GBB, w_GB, every if unpruned_GB is None else unpruned_GB, limits)


def loss(f_BB: Tensor, w_B: Tensor, pruned: list[int]) -> float:
    """Least d^T F d / 2 with w + d = 0 at weights Q, by the Schur complement: w_Q (F^-1[Q, Q])^-1 w_Q / 2."""
    if not pruned:
        return 0.0
    w_Q = w_B.double()[pruned]
    inside_QQ = torch.linalg.inv(f_BB)[pruned][:, pruned]
    return float(w_Q @ torch.linalg.solve(inside_QQ, w_Q)) / 2


def greedy(f_BB: Tensor, w_B: Tensor) -> list[tuple[int, float]]:
    """The order of removals and the loss after each: of all that are left, the one that leaves least loss."""
    gone: list[int] = []
    trace = []
    while len(gone) < len(w_B):
        left = [at for at in range(len(w_B)) if at not in gone]
        first = min(left, key=lambda at: loss(f_BB, w_B, [*gone, at]))
        gone.append(first)
        trace.append((first, loss(f_BB, w_B, gone)))
    return trace


def test_three_weights_are_as_computed_by_hand() -> None:
    # The first two have the same gradient 1, damped by 1; the third is alone with F = 8.
    # F = [[2, 1, 0], [1, 2, 0], [0, 0, 8]], [F^-1]_ii = 2/3, 2/3, 1/8; w = 1, 2, 1.
    # Alone they cost 3/4, 3 and 4. The first goes, the second becomes 2 + 1/2, and F^-1 is then 1/2 and 1/8:
    # the second costs (5/2)^2 / (2 / 2) = 25/4, the third 4. So the third goes at 3/4 + 4, the second at 11.
    f_GBB = torch.tensor([[[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 8.0]]], dtype=DOUBLE)
    w_GB = torch.tensor([[1.0, 2.0, 1.0]])
    assert removal_costs("w", f_GBB, w_GB).tolist() == [pytest.approx([0.75, 3.0, 4.0])]
    assert costs(f_GBB, w_GB).tolist() == [pytest.approx([0.75, 11.0, 4.75])]


@given(seeds, st.integers(1, 9))
def test_each_removal_is_the_best_of_all_by_explicit_algebra(seed, size) -> None:
    f_GBB, w_GB = matrices(2, size, seed), normal(2, size, seed=seed + 1)
    for f_BB, w_B, costs_B in zip(f_GBB, w_GB, costs(f_GBB, w_GB), strict=True):
        order, losses = zip(*greedy(f_BB, w_B), strict=True)
        assert costs_B.argsort().tolist() == list(order)
        assert costs_B[list(order)].tolist() == pytest.approx(losses, rel=1e-8)


def test_the_last_cost_is_the_loss_of_the_whole_block() -> None:
    f_GBB, w_GB = matrices(3, 50, 7, 1e-7), normal(3, 50, seed=8)
    whole_G = torch.einsum("gi,gij,gj->g", w_GB.double(), f_GBB, w_GB.double()) / 2
    torch.testing.assert_close(costs(f_GBB, w_GB).amax(1), whole_G, rtol=1e-9, atol=0)


@given(seeds, st.integers(1, 12))
def test_the_costs_of_a_prefix_are_the_loss_of_the_compensated_block(seed, keep) -> None:
    f_GBB, w_GB = matrices(1, 12, seed), normal(1, 12, seed=seed + 1)
    scores_GB = costs(f_GBB, w_GB)
    stays_GB = scores_GB >= scores_GB.sort(descending=True).values[:, keep - 1 : keep]
    moved_B = (compensated("w", f_GBB, w_GB.double(), stays_GB) - w_GB)[0]
    pruned = scores_GB[~stays_GB]
    assert float(moved_B @ f_GBB[0] @ moved_B) / 2 == pytest.approx(
        float(pruned.max()) if len(pruned) else 0.0, rel=1e-8, abs=1e-12
    )


@given(seeds, st.integers(1, 20))
def test_a_diagonal_matrix_adds_up_the_separate_costs(seed, size) -> None:
    diagonal_GB = normal(2, size, seed=seed).double().square() + 0.1
    w_GB = normal(2, size, seed=seed + 1)
    alone_GB = w_GB.double().square() * diagonal_GB / 2
    ordered, order = alone_GB.sort(dim=1)
    summed_GB = torch.empty_like(alone_GB).scatter_(1, order, ordered.cumsum(1))
    torch.testing.assert_close(costs(torch.diag_embed(diagonal_GB), w_GB), summed_GB, rtol=1e-12, atol=0)


def test_pruned_weights_cost_nothing_and_change_no_other_cost() -> None:
    f_GBB, w_GB = matrices(2, 6, 3), normal(2, 6, seed=4)
    unpruned_GB = torch.tensor([[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1]]).bool()
    coupled = unpruned_GB[:, :, None] & unpruned_GB[:, None, :]
    f_GBB = f_GBB.masked_fill(~coupled, 0) + torch.diag_embed((~unpruned_GB).double() * 1e-3)
    w_GB = w_GB * unpruned_GB
    found_GB = costs(f_GBB, w_GB, unpruned_GB)
    left = [0, 2, 3, 5]
    assert found_GB[0, [1, 4]].tolist() == [0, 0]
    alone_GB = costs(f_GBB[:1][:, left][:, :, left], w_GB[:1, left])
    torch.testing.assert_close(found_GB[:1, left], alone_GB, rtol=1e-12, atol=0)
    torch.testing.assert_close(found_GB[1:], costs(f_GBB[1:], w_GB[1:]), rtol=1e-12, atol=0)


def test_weights_of_zero_go_first_in_their_order_and_no_two_scores_of_a_block_are_equal() -> None:
    f_GBB = torch.eye(5, dtype=DOUBLE)[None]
    found = costs(f_GBB, torch.tensor([[0.0, 2.0, 0.0, 2.0, 0.0]]))[0]
    assert found.argsort().tolist() == [0, 2, 4, 1, 3]
    assert found.unique().numel() == 5
    assert found.tolist() == pytest.approx([0, 2, 0, 4, 0])


def test_blocks_do_not_depend_on_those_processed_with_them() -> None:
    f_GBB, w_GB = matrices(4, 8, 11), normal(4, 8, seed=12)
    together = costs(f_GBB, w_GB)
    for at in range(4):
        torch.testing.assert_close(together[at : at + 1], costs(f_GBB[at : at + 1], w_GB[at : at + 1]))


def test_a_matrix_that_cannot_be_inverted_is_refused() -> None:
    with pytest.raises(SparsityError, match="'w' cannot be inverted"):
        costs(torch.ones(1, 2, 2, dtype=DOUBLE), torch.ones(1, 2))


# Patterns


def test_groups_lose_weights_in_the_order_of_the_block_until_they_have_lost_enough() -> None:
    # 1:2 over (a, b) and (c, d): uncorrelated costs 1/2, 2, 9/2, 8. a goes, then b may not, so c goes.
    tile = Tile("w", 0, 4, 4)
    limits = rooms(tile, torch.Size([1, 4]), 1, 2, torch.ones(1, 4).bool())
    found = costs(torch.eye(4, dtype=DOUBLE)[None], torch.tensor([[1.0, 2.0, 3.0, 4.0]]), limits=limits)
    assert found.tolist() == [[0.5, math.inf, 5.0, math.inf]]


@given(seeds, st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 4)]))
def test_a_constrained_removal_is_the_best_of_those_that_are_allowed(seed, pattern) -> None:
    n, m = pattern
    f_GBB, w_GB = matrices(1, 8, seed), normal(1, 8, seed=seed + 1)
    limits = rooms(Tile("w", 0, 8, 8), torch.Size([1, 8]), n, m, torch.ones(1, 8).bool())
    found_B = costs(f_GBB, w_GB, limits=limits)[0]
    gone: list[int] = []
    while True:
        left = [
            at for at in range(8) if at not in gone and sum(at // m == other // m for other in gone) < m - n
        ]
        if not left:
            break
        gone.append(min(left, key=lambda at: loss(f_GBB[0], w_GB[0], [*gone, at])))
        assert float(found_B[gone[-1]]) == pytest.approx(loss(f_GBB[0], w_GB[0], gone), rel=1e-8)
    assert found_B.isinf().nonzero()[:, 0].tolist() == [at for at in range(8) if at not in gone]


def test_rooms_follow_rows_short_groups_and_pruned_weights() -> None:
    # rows of 5 under 1:2: groups of 2, 2 and 1; the short one keeps its only weight. Blocks of 4 split rows.
    unpruned = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1]]).bool()
    tile = Tile("w", 0, 10, 4)
    limits = rooms(tile, unpruned.shape, 1, 2, tile.read(unpruned))
    assert limits.group_GB.tolist()[:2] == [[0, 0, 1, 1], [0, 1, 1, 2]]
    by_weight = limits.room_GB.gather(1, limits.group_GB)
    assert by_weight.tolist()[:2] == [[1, 1, 0, 0], [0, 1, 1, 1]]
    assert by_weight[2, :2].tolist() == [1, 0]
