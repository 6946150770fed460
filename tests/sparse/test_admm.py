"""ADMM of a tensor: by hand, against all supports, least squares, a literal loop and SparseGPT."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from smc_eval.sparse.admm import Layer, Search, admm, find_support, refine
from smc_eval.sparse.pattern import fits, grouped
from smc_eval.sparse.reconstruct import reconstruct
from smc_eval.sparse.select import largest

Budget = int | tuple[int, int]


def solved(
    weight_OI: Tensor, gram_II: Tensor | None, quota: Budget, within: Tensor | None = None, **settings: float
) -> tuple[Tensor, Tensor]:
    """Mask and new values of a tensor whose rows all have the same inputs."""
    unpruned = torch.ones_like(weight_OI).bool() if within is None else within
    return admm(weight_OI, unpruned, [(slice(0, len(weight_OI)), gram_II)], quota, Search(**settings))  # type: ignore[arg-type]


def layer_of(
    outputs: int, inputs: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Weights, and the Gram matrix of correlated inputs of different sizes, as those of a trained net."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator) / inputs**0.5 + 0.5 * torch.eye(inputs)
    sizes = 0.2 + 2 * torch.rand(inputs, generator=generator)
    x_NI = (torch.randn(4 * inputs, inputs, generator=generator) @ mix).relu() * sizes
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    return weight.to(dtype), (x_NI.T @ x_NI).to(dtype)


def damped(gram_II: Tensor, damping: float = 0.01) -> Tensor:
    """H, in double precision."""
    return gram_II.double() + damping * gram_II.double().diagonal().mean() * torch.eye(len(gram_II))


def error(new: Tensor, old: Tensor, h_II: Tensor) -> float:
    """The sum over rows of (w' - w) H (w' - w)."""
    gap = (new - old).double()
    return float(torch.einsum("oi,ij,oj->", gap, h_II.double(), gap))


def least_squares(weight_I: Tensor, mask_I: Tensor, h_II: Tensor) -> Tensor:
    """The weights of a row with the least error on a support, by `torch.linalg.lstsq`.

    With H = R^T R the error is |R w' - R w|^2.
    """
    root_II = torch.linalg.cholesky(h_II).T
    new_I = torch.zeros_like(weight_I, dtype=torch.float64)
    goal = (root_II @ weight_I.double())[:, None]
    new_I[mask_I] = torch.linalg.lstsq(root_II[:, mask_I], goal).solution[:, 0]
    return new_I


# By hand


def test_the_weight_that_stays_makes_up_for_the_one_that_goes() -> None:
    # X^T X = [[4, 2], [2, 4]], damped by 1/4 of its mean: H = [[5, 2], [2, 5]]. Without w1 = 1 the best w0 is
    # 3 + 2/5 = 3.4, with an error of 1 (5 - 4/5) = 4.2; without w0 it would be 9 * 4.2.
    weight = torch.tensor([[3.0, 1.0]])
    mask, new = solved(weight, torch.tensor([[4.0, 2.0], [2.0, 4.0]]), 1, damping=0.25)
    assert weight.tolist() == [[3, 1]]  # the argument is not changed
    assert mask.tolist() == [[True, False]]
    torch.testing.assert_close(new, torch.tensor([[3.4, 0.0]]))


def test_of_two_inputs_that_nearly_agree_one_goes_although_the_third_weighs_least() -> None:
    # H = [[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]. Without w1 = 2: error 4 (1 - 0.81) = 0.76, and w0 is
    # 2.1 + 1.8. Without w2 = 1.9, the smallest: error 3.61.
    gram = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mask, new = solved(torch.tensor([[2.1, 2.0, 1.9]]), gram, 2, damping=1e-6)
    assert mask.tolist() == [[True, False, True]]
    torch.testing.assert_close(new, torch.tensor([[3.9, 0.0, 1.9]]), atol=1e-4, rtol=0)


def test_inputs_without_correlation_keep_the_largest_products_with_their_values() -> None:
    # H = diag(100, 1): 1 * 10 is more than 5 * 1; nothing can make up for anything
    mask, new = solved(torch.tensor([[1.0, 5.0], [2.0, 3.0]]), torch.diag(torch.tensor([100.0, 1.0])), (1, 2))
    assert mask.tolist() == [[True, False], [True, False]]
    torch.testing.assert_close(new, torch.tensor([[1.0, 0.0], [2.0, 0.0]]))


# Against other ways to compute it


def test_the_values_on_a_support_are_the_least_squares() -> None:
    weight, gram = layer_of(6, 9, seed=1)
    mask = torch.rand(6, 9, generator=torch.Generator().manual_seed(2)) < 0.5
    layer = Layer.of(weight, torch.ones_like(mask), gram, int(mask.sum()), 0.01)
    new = refine(layer, mask, layer.dense_OI * mask, 60) / layer.unit_I
    for row in range(6):
        torch.testing.assert_close(new[row], least_squares(weight[row], mask[row], damped(gram)))


def test_ten_steps_of_conjugate_gradients_come_near_to_the_least_squares() -> None:
    weight, gram = layer_of(24, 48, seed=3)
    mask, new = solved(weight, gram, 24 * 48 * 3 // 10)
    best = torch.stack([least_squares(weight[row], mask[row], damped(gram)) for row in range(24)])
    assert error(best, weight, damped(gram)) <= error(new, weight, damped(gram))
    assert error(new, weight, damped(gram)) < 1.001 * error(best, weight, damped(gram))


@pytest.mark.parametrize("keep", [3, 5])
def test_a_tiny_layer_is_near_the_best_of_all_supports(keep: int) -> None:
    ratios, magnitudes = list[float](), list[float]()
    for seed in range(10):
        weight, gram = layer_of(1, 7, seed)
        h_II, errors = damped(gram), dict[tuple[int, ...], float]()
        for places in combinations(range(7), keep):
            some = torch.zeros(7, dtype=torch.bool)
            some[list(places)] = True
            errors[places] = error(least_squares(weight[0], some, h_II)[None], weight, h_II)
        mask, new = solved(weight, gram, keep, refinements=30)
        own, best = error(new, weight, h_II), min(errors.values())
        assert own == pytest.approx(
            errors[tuple(mask[0].nonzero()[:, 0].tolist())]
        )  # the best on its support
        ratios.append(own / best)
        largest_ones = weight[0].abs().topk(keep).indices.sort().values
        magnitudes.append(errors[tuple(largest_ones.tolist())] / best)
    assert min(ratios) >= 1 - 1e-9
    assert sum(ratio < 1 + 1e-9 for ratio in ratios) >= 4  # the best support in these, which is no promise
    assert sum(ratios) < 0.8 * sum(magnitudes)


def literal(weight: Tensor, gram: Tensor, keep: Budget) -> Tensor:
    """The support by the formulas in numpy: one linear solution an iteration, and whole sorts."""
    h = damped(gram).numpy()
    unit = np.sqrt(np.diag(h))
    h, w = h / np.outer(unit, unit), weight.numpy() * unit

    def project(x: np.ndarray) -> np.ndarray:
        groups = x.reshape(1, -1) if isinstance(keep, int) else x.reshape(-1, keep[1])
        number = keep if isinstance(keep, int) else keep[0]
        least = np.sort(np.abs(groups), axis=1)[:, -number][:, None]
        return (np.abs(groups) >= least).reshape(x.shape)

    rho, moved, v = 0.1, False, np.zeros_like(w)
    support = project(w)
    kept, d, last = support.sum(), w * support, support
    for t in range(1, 301):
        x = np.linalg.solve(h + rho * np.eye(len(h)), (w @ h - v + rho * d).T).T
        support = project(x + v / rho)
        d = (x + v / rho) * support
        v = v + rho * (x - d)
        if t % 3 == 0:
            changes, last = (support != last).sum(), support
            moved = moved or changes > 0.005 * kept
            if moved and (changes == 0 or (t > 30 and changes < 0.0003 * kept)):
                break
            if moved:
                rho *= 1.3 if changes > 0.1 * kept else 1.2 if changes > 0.005 * kept else 1.1
            else:
                rho /= 5
                if changes:
                    first = project(w)
                    d, v = w * first, np.zeros_like(w)
    return torch.from_numpy(support)


@pytest.mark.parametrize("quota", [150, 300, (2, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_the_support_is_that_of_a_literal_loop(seed: int, quota: Budget) -> None:
    weight, gram = layer_of(20, 24, seed)
    assert torch.equal(solved(weight, gram, quota)[0], literal(weight, gram, quota))


@pytest.mark.parametrize("quota", [0.3, 0.5, 0.8, (2, 4), (1, 8)])
@pytest.mark.parametrize("shape", [(32, 48), (48, 32), (16, 96)])
def test_the_error_is_below_those_of_sparsegpt_and_of_magnitude(
    shape: tuple[int, int], quota: float | tuple[int, int]
) -> None:
    for seed in range(4):
        weight, gram = layer_of(*shape, seed, torch.float32)
        own: Budget = round(weight.numel() * quota) if isinstance(quota, float) else quota
        everything = torch.ones_like(weight).bool()
        size = weight.abs()
        mask = largest({"": size}, own)[""] if isinstance(own, int) else grouped(size, *own)
        bands = [(slice(0, len(weight)), gram)]
        sparsegpt = reconstruct(weight, everything, bands, own, damping=0.01, block=16)[1]
        ours = error(solved(weight, gram, own)[1], weight, gram)
        assert ours < error(sparsegpt, weight, gram)
        assert ours < error(weight * mask, weight, gram)


# The constraint


def test_exactly_the_quota_stays_and_pruned_weights_stay_pruned() -> None:
    weight, gram = layer_of(12, 18, seed=5)
    within = torch.rand(12, 18, generator=torch.Generator().manual_seed(0)) < 0.7
    weight = weight * within
    for quota in (1, 20, 60, int(within.sum())):
        mask, new = solved(weight, gram, quota, within)
        assert int(mask.sum()) == quota
        assert not bool((mask & ~within).any())
        assert not bool(new[~mask].any())
    mask, _ = solved(weight, gram, (2, 3), within)
    assert fits(mask, 2, 3)
    assert torch.equal(solved(weight, gram, (2, 3))[0].sum(1), torch.full((12,), 12))


def test_where_nothing_is_pruned_the_values_do_not_change() -> None:
    weight, gram = layer_of(4, 6, seed=6)
    mask, new = solved(weight, gram, 24)
    assert bool(mask.all())
    assert torch.equal(new, weight)


@pytest.mark.parametrize("gram", [None, torch.zeros(3, 3)])
def test_without_inputs_the_largest_magnitudes_stay_unchanged(gram: Tensor | None) -> None:
    weight = torch.tensor([[1.0, -3.0, 2.0], [0.5, 2.0, 0.1]])
    mask, new = solved(weight, gram, 3)
    assert mask.tolist() == [[False, True, True], [False, True, False]]
    assert torch.equal(new, weight * mask)


def test_an_input_that_was_always_zero_is_given_up_first() -> None:
    weight, gram = layer_of(5, 6, seed=7)
    gram[2], gram[:, 2] = 0, 0
    mask, new = solved(weight, gram, 20)
    assert not bool(mask[:, 2].any())
    assert bool(new.isfinite().all())


def test_outputs_with_other_inputs_are_layers_of_their_own() -> None:
    (first, gram), (second, other) = layer_of(4, 6, seed=8), layer_of(8, 6, seed=9)
    both = torch.cat((first, second))
    bands = [(slice(0, 4), gram), (slice(4, 12), other)]
    mask, new = admm(both, torch.ones_like(both).bool(), bands, 36, Search())
    for rows, weight, own, keep in ((slice(0, 4), first, gram, 12), (slice(4, 12), second, other, 24)):
        alone = solved(weight, own, keep)
        assert torch.equal(mask[rows], alone[0])
        assert torch.equal(new[rows], alone[1])


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_layers_of_width_1_and_weights_of_0_are_pruned_as_asked(shape: tuple[int, int]) -> None:
    for weight in (torch.ones(shape), torch.zeros(shape)):
        gram = torch.ones(shape[1], shape[1])
        for keep in range(1, weight.numel() + 1):
            mask, new = solved(weight, gram, keep)
            assert int(mask.sum()) == keep
            assert bool(new.isfinite().all())


def test_a_second_run_is_the_same_to_the_bit_and_equal_weights_meet_the_quota() -> None:
    for weight, gram in ((torch.ones(3, 4), torch.eye(4)), layer_of(8, 12, seed=12, dtype=torch.float32)):
        runs = [solved(weight, gram, 5) for _ in range(2)]
        assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))
        assert int(runs[0][0].sum()) == 5


def test_one_iteration_gives_a_support_too() -> None:
    weight, gram = layer_of(4, 6, seed=11)
    layer = Layer.of(weight, torch.ones_like(weight).bool(), gram, 10, 0.01)
    mask, values = find_support(layer, 0.1, 1)
    assert int(mask.sum()) == 10
    assert not bool(values[~mask].any())
