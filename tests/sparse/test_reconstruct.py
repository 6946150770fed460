"""Reconstruction of a tensor: by hand, against brute force, and against masks without an update."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.allocate import allocate
from smc_eval.sparse.input_stats import Grams
from smc_eval.sparse.quota import PlainQuota
from smc_eval.sparse.reconstruct import inverse_factor, reconstruct
from smc_eval.target import Target


def mended(
    weight: Tensor,
    gram: Tensor | None,
    quota: PlainQuota,
    within: Tensor | None = None,
    *,
    damping: float = 0.01,
    block: int = 128,
) -> tuple[Tensor, Tensor]:
    """Mask and new values of a tensor whose rows all have the same inputs."""
    unpruned = torch.ones_like(weight).bool() if within is None else within
    bands = [(slice(0, len(weight)), gram)]
    return reconstruct(weight, unpruned, bands, quota, damping=damping, block=block)


def gram_of(inputs: int, seed: int, rows: int = 40) -> Tensor:
    """The Gram matrix of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(rows, inputs, generator=generator) @ torch.randn(inputs, inputs, generator=generator)
    return mixed.T @ mixed


def weights_of(outputs: int, inputs: int, seed: int) -> Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed + 1000))


def damped(gram_II: Tensor, damping: float) -> Tensor:
    """H of the paper, in double precision."""
    h_II = gram_II.double()
    return h_II + damping * h_II.diagonal().mean() * torch.eye(len(h_II))


def error(new: Tensor, old: Tensor, h_II: Tensor) -> float:
    """Error of the outputs: the sum over rows of (w' - w) H (w' - w)."""
    gap = (new - old).double()
    return float(torch.einsum("oi,ij,oj->", gap, h_II, gap))


# By hand


def test_of_two_equal_inputs_the_second_replaces_the_first() -> None:
    # H = [[1, 1], [1, 1]] and hardly any damping: w0 x + w1 x is (w0 + w1) x
    weight = torch.tensor([[1.0, 3.0], [-2.0, 5.0]])
    mask, new = mended(weight, torch.ones(2, 2), (1, 2), damping=1e-9)
    assert weight.tolist() == [[1, 3], [-2, 5]]  # the argument is not changed
    assert mask.tolist() == [[False, True], [False, True]]
    torch.testing.assert_close(new, torch.tensor([[0.0, 4.0], [0.0, 3.0]]))


def test_a_tensor_is_as_computed_by_hand() -> None:
    # Inputs (1, 1) and (0, 1): X^T X = [[1, 1], [1, 2]]; damped by 1/3 of its mean, H = [[1.5, 1], [1, 2.5]],
    # H^-1 = [[2.5, -1], [-1, 1.5]] / 2.75. Without w0 = 2 the best w1 is 3 + 2 * 1 / 2.5 = 3.8.
    # Error without w0: 4 * 2.75 / 2.5 = 4.4; without w1, which has no later column: 9 * 2.5 = 22.5. So w0 is
    # pruned. In the second row the errors are 9 * 1.1 = 9.9 and 1 * 2.5, so w1 is pruned; w0 is an earlier
    # column and is not updated.
    weight = torch.tensor([[2.0, 3.0], [3.0, 1.0]])
    mask, new = mended(weight, torch.tensor([[1.0, 1.0], [1.0, 2.0]]), 2, damping=1 / 3)
    assert mask.tolist() == [[False, True], [True, False]]
    torch.testing.assert_close(new, torch.tensor([[0.0, 3.8], [3.0, 0.0]]))


def test_weights_of_an_input_that_is_always_zero_are_pruned_first_and_become_zero() -> None:
    gram = torch.tensor([[4.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 4.0]])
    weight = torch.tensor([[0.1, 9.0, 0.2], [0.3, 9.0, 0.1]])
    mask, new = mended(weight, gram, 4)
    assert mask.tolist() == [[True, False, True]] * 2
    mask, new = mended(weight, gram, 5)  # one of them must stay, with value zero
    assert mask.tolist() == [[True, True, True], [True, False, True]]
    torch.testing.assert_close(new, torch.tensor([[0.1, 0.0, 0.2], [0.3, 0.0, 0.1]]))


@pytest.mark.parametrize("gram", [None, torch.zeros(4, 4)], ids=["no inputs", "inputs of zero"])
def test_without_inputs_the_largest_magnitudes_stay_unchanged(gram: Tensor | None) -> None:
    weight = torch.tensor([[1.0, -4.0, 2.0, -3.0], [5.0, 0.1, 0.2, 0.3]])
    mask, new = mended(weight, gram, 4)
    assert new.tolist() == (weight * mask).tolist()
    assert mask.int().tolist() == [[0, 1, 1, 1], [1, 0, 0, 0]]
    assert mended(weight, gram, (2, 4))[0].int().tolist() == [[0, 1, 0, 1], [1, 0, 0, 1]]


def test_a_quota_of_all_weights_changes_nothing() -> None:
    weight = weights_of(3, 5, 0)
    mask, new = mended(weight, gram_of(5, 0), 15)
    assert bool(mask.all()) and torch.equal(new, weight)


def test_uncorrelated_inputs_of_equal_norm_give_magnitude_pruning() -> None:
    weight = weights_of(6, 10, 0)
    mask, new = mended(weight, torch.eye(10) * 7, 30)
    wanted = allocate({"a": weight.abs()}, Target(sparsity=0.5))["a"]
    assert torch.equal(mask, wanted) and torch.allclose(new, weight * mask)


# Against brute force


def exactly(
    weight: Tensor, h_II: Tensor, quota: PlainQuota, block: int, keep: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """The same by brute force: invert the rest of H before each column, and solve for the later columns.

    Column by column: a remaining weight keeps its current value; a pruned weight is compensated by the
    later columns alone, in the least-squares sense.
    """
    new, mask = weight.double().clone(), torch.ones_like(weight).bool()
    inputs = len(h_II)
    rest = [torch.linalg.inv(h_II[at:, at:])[0, 0] for at in range(inputs)]
    scores = torch.zeros_like(new)
    for at in range(inputs):
        if isinstance(quota, int) and at % block == 0:
            part = slice(at, at + block)
            scores[:, part] = new[:, part] ** 2 / torch.stack(rest[part])
            best = scores[:, part].flatten().argsort(descending=True)[: keep[at // block]]
            chosen = torch.zeros(scores[:, part].numel()).bool()
            chosen[best] = True
            mask[:, part] = chosen.view(scores[:, part].shape)
        if not isinstance(quota, int) and at % quota[1] == 0:
            part = slice(at, at + quota[1])
            scores[:, part] = new[:, part] ** 2 / torch.stack(rest[part])
            stays = math.ceil(scores[:, part].shape[1] * quota[0] / quota[1])
            mask[:, part] = False
            mask[:, part] = mask[:, part].scatter(1, scores[:, part].topk(stays)[1], True)
        for row in range(len(new)):
            if not mask[row, at]:
                lost, later = float(new[row, at]), slice(at + 1, inputs)
                new[row, at] = 0
                if at + 1 < inputs:
                    new[row, later] += torch.linalg.solve(h_II[later, later], h_II[later, at] * lost)
    return mask, new


@given(
    st.integers(1, 5),
    st.integers(2, 12),
    st.sampled_from([1, 3, 4, 128]),
    st.floats(0.1, 0.9),
    st.integers(0, 20),
)
def test_masks_and_values_are_those_of_brute_force(
    outputs: int, inputs: int, block: int, sparsity: float, seed: int
) -> None:
    weight, gram = weights_of(outputs, inputs, seed), gram_of(inputs, seed)
    quota = max(1, round(outputs * inputs * (1 - sparsity)))
    mask, new = mended(weight, gram, quota, block=block)
    assert int(mask.sum()) == quota
    keep = [int(mask[:, at : at + block].sum()) for at in range(0, inputs, block)]
    shares = [outputs * min(block, inputs - at) * quota / weight.numel() for at in range(0, inputs, block)]
    assert all(abs(found - share) < 1 for found, share in zip(keep, shares, strict=True))
    wanted_mask, wanted = exactly(weight, damped(gram, 0.01), quota, block, keep)
    assert torch.equal(mask, wanted_mask)
    torch.testing.assert_close(new.double(), wanted, atol=1e-3, rtol=1e-3)


@given(
    st.integers(1, 5),
    st.integers(1, 12),
    st.sampled_from([(2, 4), (1, 2), (1, 4), (2, 3)]),
    st.integers(0, 20),
)
def test_groups_and_values_are_those_of_brute_force(
    outputs: int, inputs: int, group: tuple[int, int], seed: int
) -> None:
    weight, gram = weights_of(outputs, inputs, seed), gram_of(inputs, seed)
    wanted_mask, wanted = exactly(weight, damped(gram, 0.01), group, 0, [])
    for block in (1, 5, 128):
        mask, new = mended(weight, gram, group, block=block)
        assert torch.equal(mask, wanted_mask)
        torch.testing.assert_close(new.double(), wanted, atol=1e-3, rtol=1e-3)


@given(st.integers(2, 8), st.integers(0, 20))
def test_one_pruned_weight_is_compensated_optimally(inputs: int, seed: int) -> None:
    # the first of the row, so that all others come later: then it is the exact step of the surgeon
    weight, gram = weights_of(1, inputs, seed), gram_of(inputs, seed)
    weight[0, 0] = 1e-3
    h_II, given = damped(gram, 0.01), weight.clone()
    mask, new = mended(weight, gram, inputs - 1)
    assert torch.equal(weight, given)
    assert mask[0].tolist() == [False] + [True] * (inputs - 1)
    inverse = torch.linalg.inv(h_II)
    wanted = weight.double() - weight[0, 0] / inverse[0, 0] * inverse[0]
    torch.testing.assert_close(new.double(), wanted, atol=1e-5, rtol=1e-4)
    assert error(new, weight, h_II) == pytest.approx(1e-6 / float(inverse[0, 0]), rel=1e-2)


@given(st.integers(1, 9), st.integers(0, 20), st.sampled_from([1e-4, 0.01, 1.0]))
def test_the_factor_is_that_of_the_inverse(inputs: int, seed: int, damping: float) -> None:
    gram = gram_of(inputs, seed, rows=3)  # of low rank: only the damping makes it invertible
    given = gram.clone()
    upper, idle = inverse_factor(gram, damping)
    assert torch.equal(gram, given)
    assert torch.equal(upper, upper.triu()) and not idle.any()
    torch.testing.assert_close(upper.T @ upper, torch.linalg.inv(damped(gram, damping)), rtol=1e-6, atol=1e-9)


# Against masks without an update


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.8])
def test_outputs_are_closer_to_the_dense_ones_than_with_wanda_or_magnitude(sparsity: float) -> None:
    weight, scale_I = weights_of(32, 160, 0), weights_of(1, 160, 1)[0].exp()  # some inputs are larger
    gram = gram_of(160, 0, rows=400) * scale_I * scale_I[:, None]
    target = Target(sparsity=sparsity, distribution="rows")
    wanda = allocate({"a": weight.abs() * gram.diagonal().sqrt()}, target)["a"]
    magnitude = allocate({"a": weight.abs()}, target)["a"]
    mask, new = mended(weight, gram, int(wanda.sum()))
    losses = [error(found, weight, gram.double()) for found in (new, weight * wanda, weight * magnitude)]
    assert losses[0] < losses[1] < losses[2]
    assert losses[0] < error(weight * mask, weight, gram.double())  # the update helps, not only the mask


# Pruned weights, and separate inputs


@given(st.sampled_from([(3, 8), (4, 10), (2, 130)]), st.integers(0, 9))
def test_pruned_weights_stay_pruned_and_counts_are_exact(shape: tuple[int, int], seed: int) -> None:
    weight, gram = weights_of(*shape, seed), gram_of(shape[1], seed)
    within = torch.ones(shape).bool()
    for share in (0.8, 0.5, 0.2, 0.1):
        quota = round(share * weight.numel())
        mask, weight = mended(weight, gram, quota, within)
        assert int(mask.sum()) == quota and not (mask & ~within).any() and not weight[~mask].any()
        within = mask


@given(st.sampled_from([(3, 8), (4, 10), (2, 130)]), st.integers(0, 9))
def test_patterns_are_nested_from_three_of_four_to_one_of_four(shape: tuple[int, int], seed: int) -> None:
    weight, gram = weights_of(*shape, seed), gram_of(shape[1], seed)
    within = torch.ones(shape).bool()
    for n in (3, 2, 1):
        mask, weight = mended(weight, gram, (n, 4), within)
        assert not (mask & ~within).any() and not weight[~mask].any()
        for start in range(0, shape[1], 4):
            part = mask[:, start : start + 4]
            assert (part.sum(1) == math.ceil(part.shape[1] * n / 4)).all()
        within = mask


def test_rows_with_separate_inputs_are_updated_by_their_own() -> None:
    weight, first, second = weights_of(6, 8, 0), gram_of(8, 1), gram_of(8, 2)
    bands = [(slice(0, 2), first), (slice(2, 6), second)]
    unpruned = torch.ones_like(weight).bool()
    mask, new = reconstruct(weight, unpruned, bands, 24, damping=0.01, block=128)
    parts = [mended(weight[:2], first, 8), mended(weight[2:], second, 16)]
    assert torch.equal(mask, torch.cat([part[0] for part in parts]))
    assert torch.equal(new, torch.cat([part[1] for part in parts]))


def test_a_kernel_is_updated_as_a_matrix() -> None:
    kernel, gram = weights_of(3, 12, 0).view(3, 4, 3), gram_of(12, 0)
    mask, new = mended(kernel, gram, 18)
    flat_mask, flat = mended(kernel.flatten(1), gram, 18)
    assert torch.equal(mask.flatten(1), flat_mask) and torch.equal(new.flatten(1), flat)


def test_the_error_of_infinite_inputs_names_the_tensor() -> None:
    weights = {"a": torch.ones(2, 2)}
    grams = Grams(weights, weights)
    grams("a", (slice(0, 2), slice(0, 2)), torch.tensor([[1.0, float("inf")]]))
    with pytest.raises(SparsityError, match="inputs that 'a' multiplies are not finite"):
        list(grams.bands("a"))
