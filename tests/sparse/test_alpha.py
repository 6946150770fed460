"""The distribution `alpha`: budgets by hand, masks, and every method that supports it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.method import Method
from smc_eval.methods.alps import Alps
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.obert import OptimalBertSurgeon
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.methods.wanda import Wanda
from smc_eval.pruner import masks
from smc_eval.sparse.allocate import allocate, budgets, expected
from smc_eval.sparse.spectrum import tail_densities, tail_exponent
from smc_eval.target import Target
from smc_eval.testing import chain_of, run_chain


def of_exponent(exponent: float, seed: int) -> Tensor:
    """A 2 x 2 matrix whose spectrum has this exponent: eigenvalues 1 and exp(2 / (exponent - 1))."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(2, 2, generator=generator).double()).Q for _ in range(2))
    return left @ torch.diag(torch.tensor([1.0, math.exp(1 / (exponent - 1))], dtype=torch.float64)) @ right


# two blocks of two tensors, with mean exponents 2.5 and 5, and a tensor of its own with 3.5
WEIGHTS = {
    "layer.0.a": of_exponent(3, 0),
    "layer.0.b": of_exponent(2, 1),
    "layer.1.a": of_exponent(4, 2),
    "layer.1.b": of_exponent(6, 3),
    "head": of_exponent(3.5, 4),
}
SHAPES = dict.fromkeys(WEIGHTS, (2, 2))
HALF = Target(sparsity=0.5, distribution="alpha")


def test_the_exponents_are_those_asked_for() -> None:
    found = [tail_exponent(weight) for weight in WEIGHTS.values()]
    assert found == pytest.approx([3, 2, 4, 6, 3.5])


def test_budgets_are_computed_by_hand() -> None:
    # Places 0, 1 and 0.4, so relative sparsities 0.7, 1.3 and 0.94, of mean 0.988 over 8, 8 and 4 weights.
    # At 0.5 the blocks keep 1 - 0.7 * 0.5 / 0.988 = 0.6457 and 0.3421, the head 0.5243 of four weights each:
    # 2.583, 2.583, 1.368, 1.368, 2.097. Rounded down they are 8; the two largest remainders make 10.
    assert budgets(SHAPES, HALF, weights=WEIGHTS) == {
        "layer.0.a": 3,
        "layer.0.b": 3,
        "layer.1.a": 1,
        "layer.1.b": 1,
        "head": 2,
    }


def test_masks_keep_the_largest_saliencies_of_each_budget() -> None:
    saliency = {name: weight.abs() for name, weight in WEIGHTS.items()}
    found = allocate(saliency, HALF, weights=WEIGHTS)
    for name, keep in budgets(SHAPES, HALF, weights=WEIGHTS).items():
        assert int(found[name].sum()) == keep
        assert float(saliency[name][found[name]].min()) >= float(saliency[name][~found[name]].max())


@pytest.mark.parametrize("sparsity", [0.05, 0.5, 0.9])
def test_pruned_tensors_stay_pruned_and_the_others_get_the_rest(sparsity: float) -> None:
    generator = torch.Generator().manual_seed(5)
    weights = {f"layer.{n}.w": torch.randn(12, 10 + n, generator=generator) for n in range(4)}
    within = {name: torch.rand(weight.shape, generator=generator) < 0.96 for name, weight in weights.items()}
    within["layer.2.w"][:] = False
    within["layer.2.w"][0, 0] = True
    target = Target(sparsity=max(sparsity, 0.4), distribution="alpha")
    saliency = {name: weight.abs() for name, weight in weights.items()}
    found = allocate(saliency, target, within=within, weights=weights)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    assert sum(int(mask.sum()) for mask in found.values()) == expected(shapes, target)
    assert not any(bool((found[name] & ~within[name]).any()) for name in found)


def test_budgets_follow_the_densities_of_real_sizes() -> None:
    generator = torch.Generator().manual_seed(6)
    weights = {f"layer.{n}.w": torch.randn(40, 30, generator=generator) * (1 + n) for n in range(3)}
    weights["layer.1.w"] += torch.outer(torch.ones(40), torch.ones(30))
    target = Target(sparsity=0.6, distribution="alpha")
    counts = budgets(dict.fromkeys(weights, (40, 30)), target, weights=weights)
    for name, density in tail_densities(weights, [(name,) for name in weights], 0.6).items():
        assert abs(counts[name] - density * 1200) < 1


def test_a_pruner_that_gives_no_weights_is_told_to() -> None:
    saliency = {name: weight.abs() for name, weight in WEIGHTS.items()}
    with pytest.raises(SparsityError, match="'alpha' reads the spectra .* pass weights=probe.weights"):
        masks(saliency, HALF)


@pytest.mark.parametrize(
    "method",
    [
        MagnitudeAfter(),
        Gmp(),
        OptimalBertSurgeon(gradients=4),
        Wanda(batches=2),
        Wanda(batches=2, calibrate="once"),
        SparseGPT(batches=2),
        Alps(batches=2),
    ],
    ids=lambda method: type(method).__name__ + getattr(method, "calibrate", ""),
)
def test_methods_meet_it_exactly(tmp_path: Path, method: Method) -> None:
    target = Target(sparsity=0.6, distribution="alpha")
    record, _, found = run_chain(chain_of(method, target), tmp_path)
    assert record.certificate.ok
    shapes = {name: tuple(mask.shape) for name, mask in found.items()}
    assert sum(int(mask.sum()) for mask in found.values()) == expected(shapes, target)
    assert len({round(float(mask.float().mean()), 2) for mask in found.values()}) > 1


def test_wanda_prunes_within_rows_as_published(tmp_path: Path) -> None:
    _, _, found = run_chain(chain_of(Wanda(batches=2), Target(sparsity=0.6, distribution="alpha")), tmp_path)
    for mask in found.values():
        counts = mask.sum(1)
        assert int(counts.max() - counts.min()) <= 1
