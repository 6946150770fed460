"""Turnover: by hand, and against the algorithm in plain numbers, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.sparse import turnover
from smc_eval.sparse.moments import Moments, PowerSums, moments
from smc_eval.sparse.pattern import fits, grouped, rowwise
from smc_eval.sparse.turnover import Turnover

seeds = st.integers(0, 10**6)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs_of(x_NI: Tensor) -> Moments:
    """The moments of given rows."""
    sums = PowerSums({"w": torch.empty(1, x_NI.shape[1])}, ["w"])
    for part_NI in x_NI.split(7):
        sums("w", (slice(0, 1), slice(0, x_NI.shape[1])), part_NI)
    ((_, total),) = sums.bands("w")
    assert total is not None
    return moments(total)


def given_moments(mean: list[float], variance: list[float]) -> Moments:
    mean_I, variance_I = (torch.tensor(values, dtype=torch.float64) for values in (mean, variance))
    return Moments(mean_I, variance_I, mean_I.square() + variance_I)


def turned(
    weight: Tensor, mask: Tensor, inputs: Moments, within: Tensor | None = None, **options: Any
) -> Tensor:
    rule = Turnover(**{"cycles": 50, "threshold": 0.0, "power": 1.0, **options})
    return rule.masks(weight, mask, torch.ones_like(mask) if within is None else within, inputs)


def by_row(
    w: np.ndarray, mask: np.ndarray, mean: np.ndarray, var: np.ndarray, norm: np.ndarray, rule: Turnover
) -> np.ndarray:
    """The algorithm in a loop over cycles, for one row: candidates are looked for anew each time."""
    mask, start = mask.copy(), mask.copy()
    grown, pruned = np.zeros_like(mask), np.zeros_like(mask)
    share, error = w * mean, float((w * mean)[~mask].sum())
    first = np.sign(error)
    for _ in range(rule.cycles):
        if abs(error) <= rule.threshold:
            break
        grows = [j for j in range(len(w)) if not start[j] and not grown[j] and share[j] * error > 0]
        if not grows:
            break
        grow = max(grows, key=lambda j: (abs(share[j]) / var[j] ** rule.power, -j))
        prunes = [
            j
            for j in range(len(w))
            if start[j]
            and not pruned[j]
            and (share[j] * error < 0 if rule.group is None else j // rule.group == grow // rule.group)
        ]
        if not prunes:
            if rule.group is None:
                break
            grown[grow] = True  # passed over
            continue
        prune = min(prunes, key=lambda j: (abs(w[j]) * norm[j], j))
        after = error + share[prune] - share[grow]
        if rule.group is not None and np.sign(after) != first:
            break
        mask[grow], mask[prune], grown[grow], pruned[prune], error = True, False, True, True, after
    return mask


def test_moments_are_those_of_all_rows_together() -> None:
    x_NI = normal(50, 6, seed=1) * 3 + 100
    found = inputs_of(x_NI)
    torch.testing.assert_close(found.mean_I, x_NI.double().mean(0))
    torch.testing.assert_close(found.variance_I, x_NI.double().var(0, correction=0), rtol=1e-9, atol=0)
    torch.testing.assert_close(found.square_I, x_NI.double().square().mean(0))


def test_a_constant_input_has_a_variance_of_0_and_an_unseen_one_no_moments() -> None:
    x_NI = torch.full((1000, 2), 0.1)
    x_NI[:, 1] = 0
    assert inputs_of(x_NI).variance_I.tolist() == [0, 0]
    assert moments(torch.zeros(3, 2, dtype=torch.float64)).square_I.tolist() == [0, 0]


def test_a_row_is_as_computed_by_hand() -> None:
    # E[x] = 1, w = (4, 3, -2, 1, -0.5, 2); the first three are pruned: E = 4 + 3 - 2 = 5. Growth is 4 / 4 = 1
    # and 3 / 1 = 3: the second grows. Of the kept ones only -0.5 takes from E: it goes, and E is 1.5,
    # and no kept weight is left that would take from E, so the row ends.
    weight = torch.tensor([[4.0, 3.0, -2.0, 1.0, -0.5, 2.0]])
    mask = torch.tensor([[False, False, False, True, True, True]])
    inputs = given_moments([1.0] * 6, [4.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert turned(weight, mask, inputs).int().tolist() == [[0, 1, 0, 1, 0, 1]]
    assert turned(weight, mask, inputs, power=0.0).int().tolist() == [[1, 0, 0, 1, 0, 1]]
    assert turned(weight, mask, inputs, threshold=5.0).int().tolist() == [[0, 0, 0, 1, 1, 1]]
    assert turned(-weight, mask, inputs).int().tolist() == [[0, 1, 0, 1, 0, 1]]


def test_in_a_group_the_cheapest_weight_goes_whatever_its_sign() -> None:
    # Groups (4, 3, 1, 2) and (0.5, -1, 1, 1): the first two of each are pruned, E = 4 + 3 + 0.5 - 1 = 6.5.
    # 4 grows and 1 goes: 3.5. Then 3 grows and 2 goes: 2.5. Then 0.5 grows, and 1 goes, the first of equal
    # ones: 3, which has the sign of the beginning. Nothing else takes from E.
    weight = torch.tensor([[4.0, 3.0, 1.0, 2.0, 0.5, -1.0, 1.0, 1.0]])
    mask = torch.tensor([[0, 0, 1, 1, 0, 0, 1, 1]]).bool()
    inputs = given_moments([1.0] * 8, [1.0] * 8)
    assert turned(weight, mask, inputs, group=4).int().tolist() == [[1, 1, 0, 0, 1, 0, 0, 1]]
    assert turned(weight, mask, inputs, group=4, cycles=1).int().tolist() == [[1, 0, 0, 1, 0, 0, 1, 1]]
    assert turned(weight, mask, inputs, group=4, threshold=3.0).int().tolist() == [[1, 1, 0, 0, 0, 0, 1, 1]]


def test_a_group_ends_before_the_sign_of_the_error_changes() -> None:
    # E = 1; the growth of 1 takes it to 0, and the pruning of -3 to -3
    weight, mask = torch.tensor([[1.0, -3.0]]), torch.tensor([[False, True]])
    inputs = given_moments([1.0, 1.0], [1.0, 1.0])
    assert torch.equal(turned(weight, mask, inputs, group=2), mask)
    assert turned(weight, mask, inputs).int().tolist() == [[1, 0]]


@given(seeds, st.sampled_from([None, 2, 4, 5]), st.sampled_from([0.0, 0.3]), st.integers(1, 12))
def test_rows_equal_the_algorithm_in_plain_numbers(seed, group, threshold, cycles) -> None:
    x_NI = normal(30, 12, seed=seed) + normal(12, seed=seed + 1)
    weight, mask = normal(6, 12, seed=seed + 2), rowwise(normal(6, 12, seed=seed + 3), 36)
    inputs = inputs_of(x_NI)
    rule = Turnover(cycles=cycles, threshold=threshold, power=1.0, group=group)
    found = rule.masks(weight, mask, torch.ones_like(mask), inputs)
    x = x_NI.double().numpy()
    for row in range(6):
        wanted = by_row(
            weight[row].double().numpy(),
            mask[row].numpy(),
            x.mean(0),
            x.var(0),
            np.sqrt((x**2).mean(0)),
            rule,
        )
        assert found[row].tolist() == wanted.tolist()


@given(seeds, st.sampled_from([(2, 4), (1, 4), (3, 5), (1, 2)]))
def test_groups_keep_their_pattern_and_rows_their_count(seed, pattern) -> None:
    weight, inputs = normal(4, 11, seed=seed), inputs_of(normal(20, 11, seed=seed + 1) + 1)
    mask = grouped(weight.abs(), *pattern)
    new = turned(weight, mask, inputs, group=pattern[1])
    assert fits(new, *pattern) and torch.equal(new.sum(1), mask.sum(1))
    free = turned(weight, mask, inputs)
    assert torch.equal(free.sum(1), mask.sum(1))


def test_what_must_stay_pruned_stays_pruned() -> None:
    weight, inputs = normal(6, 10, seed=4), inputs_of(normal(20, 10, seed=5) + 0.5)
    within = normal(6, 10, seed=6) > -0.7
    mask = rowwise(weight.abs(), 20, within)
    for group in (None, 5):
        assert not (turned(weight, mask, inputs, within, group=group) & ~within).any()


def test_rows_do_not_depend_on_those_processed_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, inputs = normal(30, 16, seed=7), inputs_of(normal(40, 16, seed=8) + 0.5)
    mask = rowwise(weight.abs(), 240)
    whole = [turned(weight, mask, inputs, group=group) for group in (None, 4)]
    monkeypatch.setattr(turnover, "ROWS_AT_ONCE", 40)
    for group, other in zip((None, 4), whole, strict=True):
        assert torch.equal(turned(weight, mask, inputs, group=group), other)


def test_a_constant_input_grows_first_and_one_that_is_always_0_never() -> None:
    weight, mask = torch.tensor([[1.0, 9.0, 1.0, -1.0]]), torch.tensor([[False, False, False, True]])
    inputs = given_moments([0.1, 0.0, 2.0, 1.0], [0.0, 0.0, 1e-3, 1.0])
    assert turned(weight, mask, inputs).int().tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("weight", "mask"),
    [
        (torch.zeros(2, 4), [[1, 1, 0, 0], [0, 0, 1, 1]]),  # all weights 0
        (torch.ones(2, 1), [[1], [0]]),  # width 1
        (torch.ones(2, 3), [[1, 1, 1], [0, 0, 0]]),  # full and dead rows
    ],
)
def test_rows_without_candidates_stay_as_they_are(weight: Tensor, mask: list[list[int]]) -> None:
    start, inputs = torch.tensor(mask).bool(), inputs_of(normal(9, weight.shape[1], seed=1) + 1)
    for group in (None, 2):
        assert torch.equal(turned(weight, start, inputs, group=group), start)
