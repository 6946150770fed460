"""Exponents of spectra: by hand, and against eigenvalues of numpy and a loop over all tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from smc_eval.sparse.spectrum import tail_densities, tail_exponent


def of_eigenvalues(*values: float, outputs: int = 0) -> Tensor:
    """A matrix W with these eigenvalues of W^T W, turned so that no number shows them."""
    generator, size = torch.Generator().manual_seed(0), len(values)
    left, right = (
        torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
        for n in (max(size, outputs), size)
    )
    return left[:, :size] @ torch.diag(torch.tensor(values, dtype=torch.float64).sqrt()) @ right


def test_the_exponent_of_two_eigenvalues_is_computed_by_hand() -> None:
    # the only tail is both: 1 + 2 / (ln(1 / 1) + ln(e / 1)) = 3
    assert tail_exponent(of_eigenvalues(1.0, math.e)) == pytest.approx(3)
    assert tail_exponent(of_eigenvalues(1.0, math.e, outputs=5)) == pytest.approx(3)


def test_the_tail_that_is_nearest_to_its_power_law_counts() -> None:
    # Eigenvalues 1, 4, 8, and the peak is at 1: the first of three bins that hold one each. A tail begins at
    # 1.5 at most, so all three are the tail: 1 + 3 / (ln 1 + ln 4 + ln 8) = 1 + 3 / ln 32.
    assert tail_exponent(of_eigenvalues(1.0, 4.0, 8.0)) == pytest.approx(1 + 3 / math.log(32))
    # Eigenvalues 1, 4, 4.01, 8: two share a bin, so the peak is near 4 and a tail may begin up to about 6.
    # From 1: 1 + 4 / ln 128.32 = 1.824, distances |0 - 0|, |1 - 4^-0.824 - 1/4| = 0.431, ... From 4.01:
    # 1 + 2 / ln(8 / 4.01) = 3.896, distances 0 and |1 - (8 / 4.01)^-2.896 - 1/2| = 0.365. From 4:
    # 1 + 3 / (ln 1.0025 + ln 2) = 5.313, distances 0, |1 - 1.0025^-4.313 - 1/3| = 0.323 and
    # |1 - 2^-4.313 - 2/3| = 0.283: the largest is the least.
    exponent = tail_exponent(of_eigenvalues(1.0, 4.0, 4.01, 8.0))
    assert exponent == pytest.approx(1 + 3 / (math.log(4.01 / 4) + math.log(2)))


def slow_exponent(matrix: np.ndarray) -> float:
    """The same by eigenvalues of W^T W in numpy, and a loop over the tails."""
    values = np.sort(np.linalg.eigvalsh(matrix.T @ matrix))[-min(matrix.shape) :]
    counts, edges = np.histogram(np.log(values), bins=100)
    limit, found = 1.5 * np.exp(edges[counts.argmax()]), []
    for start, least in enumerate(values[:-1]):
        if least > limit and found:
            break
        tail = values[start:]
        alpha = 1 + len(tail) / np.log(tail / least).sum()
        law = 1 - (tail / least) ** (1 - alpha)
        found.append((np.abs(law - np.arange(len(tail)) / len(tail)).max(), alpha))
    return min(found)[1]


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (24, 24), (3, 50)])
@pytest.mark.parametrize("spikes", [0, 3])
def test_exponents_are_those_of_a_loop_over_numpys_eigenvalues(shape: tuple[int, int], spikes: int) -> None:
    for seed in range(3):
        generator = np.random.default_rng(seed)
        matrix = generator.normal(size=shape)
        matrix += generator.normal(size=(shape[0], spikes)) @ generator.normal(size=(spikes, shape[1]))
        assert tail_exponent(torch.from_numpy(matrix)) == pytest.approx(slow_exponent(matrix), rel=1e-6)


def test_the_size_of_the_weights_does_not_count_and_heavy_tails_have_small_exponents() -> None:
    weight = torch.randn(40, 60, generator=torch.Generator().manual_seed(1))
    spiked = (
        weight + 3 * torch.outer(torch.ones(40), torch.ones(60)) + 2 * torch.outer(weight[:, 0], weight[0])
    )
    plain, heavy = tail_exponent(weight), tail_exponent(spiked)
    assert plain is not None
    assert heavy is not None
    assert heavy < plain
    assert tail_exponent(1000 * weight) == pytest.approx(plain, rel=1e-4)


def test_a_kernel_joins_the_spectra_of_its_places() -> None:
    first, second = of_eigenvalues(1.0, 4.0), of_eigenvalues(8.0, 16.0)
    kernel = torch.stack((first, second), dim=-1)[..., None]  # [2, 2, 2, 1]
    assert tail_exponent(kernel) == tail_exponent(of_eigenvalues(1.0, 4.0, 8.0, 16.0))


@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(1, 5),
        torch.ones(5, 1),
        torch.zeros(3, 4),
        torch.ones(4, 4),
        torch.empty(0, 3),
        torch.eye(3),
    ],
)
def test_fewer_than_two_eigenvalues_or_equal_ones_have_no_exponent(weight: Tensor) -> None:
    assert tail_exponent(weight) is None


# Densities


WEIGHTS = {
    "a.0": of_eigenvalues(1.0, math.e),  # exponent 3
    "a.1": of_eigenvalues(1.0, math.e**2),  # exponent 2
    "b.0": of_eigenvalues(1.0, math.e ** (2 / 3)),  # exponent 4
    "b.1": of_eigenvalues(1.0, math.e ** (2 / 5)),  # exponent 6
    "c": of_eigenvalues(1.0, math.e ** (4 / 5)),  # exponent 3.5
}
UNITS = (("a.0", "a.1"), ("b.0", "b.1"), ("c",))


def test_densities_of_blocks_are_computed_by_hand() -> None:
    # Exponents 2.5, 5 and 3.5, so places 0, 1 and 0.4; with tau = 0.3 relative sparsities 0.7, 1.3 and 0.94,
    # of 8, 8 and 4 weights: a mean of (5.6 + 10.4 + 3.76) / 20 = 0.988. At 0.5 they are 0.7, 1.3 and 0.94
    # times 0.5 / 0.988.
    densities = tail_densities(WEIGHTS, UNITS, 0.5)
    wanted = {"a.0": 0.7, "a.1": 0.7, "b.0": 1.3, "b.1": 1.3, "c": 0.94}
    assert densities == pytest.approx({name: 1 - 0.5 * share / 0.988 for name, share in wanted.items()})


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.7, 0.9, 0.99])
def test_all_together_have_the_target_and_no_unit_less_than_a_fifth_of_its_density(sparsity: float) -> None:
    densities = tail_densities(WEIGHTS, UNITS, sparsity)
    total = sum(densities[name] * weight.numel() for name, weight in WEIGHTS.items())
    assert total == pytest.approx((1 - sparsity) * 20)
    assert min(densities.values()) >= 0.2 * (1 - sparsity) * (1 - 1e-9)
    assert max(densities.values()) <= 1
    if sparsity:
        assert densities["a.0"] > densities["c"] > densities["b.0"]


def test_a_unit_without_an_exponent_has_the_targets_density() -> None:
    densities = tail_densities({**WEIGHTS, "flat": torch.ones(7, 1)}, (*UNITS, ("flat",)), 0.5)
    assert densities["flat"] == 0.5
    assert densities["a.0"] == tail_densities(WEIGHTS, UNITS, 0.5)["a.0"]


def test_a_tensor_without_an_exponent_is_left_out_of_its_blocks_mean() -> None:
    weights = {**WEIGHTS, "a.2": torch.zeros(3, 3)}
    densities = tail_densities(weights, (("a.0", "a.1", "a.2"), *UNITS[1:]), 0.5)
    assert densities["a.2"] == densities["a.0"] > 0.5


def test_one_unit_or_equal_ones_are_pruned_alike() -> None:
    weight = of_eigenvalues(1.0, 2.0)
    assert tail_densities({"a": weight}, [("a",)], 0.7) == pytest.approx({"a": 0.3})
    assert tail_densities({"a": weight, "b": weight}, [("a",), ("b",)], 0.7) == pytest.approx(
        {"a": 0.3, "b": 0.3}
    )
