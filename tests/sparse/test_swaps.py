"""Swaps: by hand, against all single swaps, and against the best mask of all."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.sparse import swaps
from smc_eval.sparse.pattern import fits, grouped, rowwise
from smc_eval.sparse.swaps import swapped

seeds = st.integers(0, 10**6)
patterns = st.sampled_from([None, 2, 3, 4])


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gram_of(inputs: int, seed: int, rows: int = 40) -> Tensor:
    """The Gram matrix of correlated inputs."""
    x_NI = normal(rows, inputs, seed=seed) @ normal(inputs, inputs, seed=seed + 1)
    return x_NI.T @ x_NI


def after(
    weight: Tensor,
    mask: Tensor,
    gram: Tensor,
    *,
    group: int | None = None,
    most: int = 1000,
    within: Tensor | None = None,
) -> Tensor:
    every = torch.ones_like(mask) if within is None else within
    return swapped(weight, mask, every, gram, group=group, most=most)


def errors(weight: Tensor, mask: Tensor, gram: Tensor) -> Tensor:
    """Error of each row, tr((W - M W) G (W - M W)^T) without the sum over rows."""
    lost_OI = (weight * ~mask).double()
    return torch.einsum("oi,ij,oj->o", lost_OI, gram.double(), lost_OI)


def neighbours(mask: Tensor, within: Tensor, group: int | None) -> list[Tensor]:
    """All masks that one swap makes of a row's mask."""
    others = []
    for prune in mask.nonzero()[:, 0].tolist():
        for keep in (~mask & within).nonzero()[:, 0].tolist():
            if group is None or prune // group == keep // group:
                other = mask.clone()
                other[prune], other[keep] = False, True
                others.append(other)
    return others


def test_a_row_is_as_computed_by_hand() -> None:
    # w = (2, 1, 1), the first two inputs are equal and opposed to the third: G = [[1, 1, -1], [1, 1, -1],
    # [-1, -1, 1]]. Only the third weight is kept: r = (2, 1, 0) and the error is 9. Keep the first instead:
    # r = (0, 1, 1) and the error is (1 - 1)^2 = 0. Keep the second instead: (2 - 1)^2 = 1.
    sign = torch.tensor([1.0, 1.0, -1.0])
    weight, mask = torch.tensor([[2.0, 1.0, 1.0]]), torch.tensor([[False, False, True]])
    gram = torch.outer(sign, sign)
    assert errors(weight, mask, gram).tolist() == [9]
    assert after(weight, mask, gram).tolist() == [[True, False, False]]
    assert mask.tolist() == [[False, False, True]]  # the argument is not changed


def test_uncorrelated_inputs_give_the_mask_of_the_largest_products() -> None:
    weight, norms = normal(6, 9, seed=1), normal(9, seed=2).abs()
    random = rowwise(normal(6, 9, seed=3), 24)
    assert torch.equal(after(weight, random, torch.diag(norms.square())), rowwise(weight.abs() * norms, 24))


def test_a_gram_matrix_whose_rounding_is_not_symmetric_gives_the_best_swap_too() -> None:
    weight, mask, gram = normal(40, 9, seed=1), rowwise(normal(40, 9, seed=2), 160), gram_of(9, 3).double()
    skewed = gram * (1 + 1e-6 * torch.ones_like(gram).triu(1))
    even = (skewed + skewed.T) / 2
    assert torch.equal(after(weight, mask, skewed, most=1), after(weight, mask, even, most=1))
    for row, new in enumerate(after(weight, mask, skewed, most=1)):
        tried = torch.stack([mask[row], *neighbours(mask[row], torch.ones_like(mask[row]), None)])
        least = float(errors(weight[row].expand(len(tried), -1), tried, even).min())
        assert float(errors(weight[row : row + 1], new[None], even)) == pytest.approx(least, rel=1e-9)


@given(seeds, patterns, st.integers(2, 9))
def test_each_step_is_the_best_of_all_single_swaps(seed, group, inputs) -> None:
    weight, gram = normal(3, inputs, seed=seed), gram_of(inputs, seed + 10)
    mask = rowwise(normal(3, inputs, seed=seed + 20), 3 * ((inputs + 1) // 2))
    within = mask | (normal(3, inputs, seed=seed + 30) > -1)
    for _ in range(3):
        new = after(weight, mask, gram, group=group, most=1, within=within)
        for row in range(3):
            options = neighbours(mask[row], within[row], group)
            tried = (
                errors(weight[row].expand(len(options), -1), torch.stack(options), gram) if options else []
            )
            before = float(errors(weight[row : row + 1], mask[row : row + 1], gram))
            least = min([before, *map(float, tried)])
            assert float(errors(weight[row : row + 1], new[row : row + 1], gram)) == pytest.approx(
                least, rel=1e-9, abs=1e-9 * before
            )
        mask = new


@given(seeds, patterns, st.sampled_from([0.3, 0.5, 0.8]))
def test_the_error_of_no_row_ever_rises_and_no_count_changes(seed, group, density) -> None:
    weight, gram = normal(5, 12, seed=seed), gram_of(12, seed + 10)
    mask = rowwise(normal(5, 12, seed=seed + 20), round(60 * density))
    before = errors(weight, mask, gram)
    for _ in range(40):
        new = after(weight, mask, gram, group=group, most=1)
        assert torch.equal(new.sum(1), mask.sum(1))
        now = errors(weight, new, gram)
        assert bool((now <= before * (1 + 1e-12)).all())
        if torch.equal(new, mask):
            break
        assert bool((now < before).any())
        mask, before = new, now
    else:
        pytest.fail("it does not come to an end")


@given(seeds)
def test_steps_one_by_one_end_where_all_steps_together_do(seed) -> None:
    weight, gram = normal(4, 8, seed=seed), gram_of(8, seed + 10)
    mask = rowwise(weight.abs(), 16)
    whole = after(weight, mask, gram, most=8)
    for _ in range(8):
        mask = after(weight, mask, gram, most=1)
    assert torch.equal(mask, whole)


def test_it_often_finds_the_best_mask_of_all() -> None:
    found = 0
    for seed in range(20):
        weight, gram = normal(1, 8, seed=seed), gram_of(8, seed + 100)
        mask = rowwise(weight.abs() * gram.diagonal().sqrt(), 4)
        all_masks = torch.zeros(70, 8, dtype=torch.bool)
        for at, kept in enumerate(combinations(range(8), 4)):
            all_masks[at, list(kept)] = True
        least = float(errors(weight.expand(70, -1), all_masks, gram).min())
        end = float(errors(weight, after(weight, mask, gram), gram))
        assert end >= least * (1 - 1e-9)
        found += end <= least * (1 + 1e-9)
    assert found >= 12


@given(seeds, st.sampled_from([(2, 4), (1, 4), (3, 5)]))
def test_groups_keep_their_pattern(seed, pattern) -> None:
    weight, gram = normal(4, 11, seed=seed), gram_of(11, seed + 1)
    mask = grouped(weight.abs(), *pattern)
    new = after(weight, mask, gram, group=pattern[1])
    assert fits(new, *pattern) and torch.equal(new.sum(1), mask.sum(1))


def test_what_must_stay_pruned_stays_pruned() -> None:
    weight, gram = normal(6, 10, seed=4), gram_of(10, 5)
    within = normal(6, 10, seed=6) > -0.7
    mask = rowwise(weight.abs(), 20, within)
    for group in (None, 5):
        assert not (after(weight, mask, gram, group=group, within=within) & ~within).any()


def test_rows_and_chunks_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, gram = normal(30, 16, seed=7), gram_of(16, 8)
    mask = rowwise(weight.abs(), 240)
    whole = [after(weight, mask, gram, group=group) for group in (None, 4)]
    monkeypatch.setattr(swaps, "PAIRS_AT_ONCE", 40)
    assert all(
        torch.equal(after(weight, mask, gram, group=group), other)
        for group, other in zip((None, 4), whole, strict=True)
    )


def test_equal_swaps_are_settled_by_their_lowest_indices() -> None:
    # all inputs are the same: pruning 2 and 3 and keeping 0 and 1 in any order gains the same
    mask = torch.tensor([[False, False, False, True, True, True]])
    weight = torch.tensor([[2.0, 2.0, 2.0, 1.0, 1.0, 1.0]])
    one = after(weight, mask, torch.eye(6), most=1)
    assert one.tolist() == [[True, False, False, False, True, True]]


@pytest.mark.parametrize(
    ("weight", "mask"),
    [
        (torch.zeros(2, 4), [[1, 1, 0, 0], [0, 0, 1, 1]]),  # all weights 0
        (torch.ones(2, 1), [[1], [0]]),  # width 1
        (torch.ones(2, 3), [[1, 1, 1], [0, 0, 0]]),  # full and dead rows
    ],
)
def test_rows_without_a_gain_stay_as_they_are(weight: Tensor, mask: list[list[int]]) -> None:
    start = torch.tensor(mask).bool()
    gram = gram_of(weight.shape[1], 3)
    for group in (None, 2):
        assert torch.equal(after(weight, start, gram, group=group), start)


def test_inputs_that_were_always_0_are_pruned_first() -> None:
    x_NI = normal(20, 4, seed=2)
    x_NI[:, [0, 2]] = 0
    mask = torch.tensor([[True, False, True, False]])
    assert after(torch.ones(1, 4), mask, x_NI.T @ x_NI).tolist() == [[False, True, False, True]]
