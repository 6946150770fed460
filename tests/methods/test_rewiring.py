"""Rewiring: what all methods of dynamic sparse training do with tensors that are hard to rewire."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from smc_eval.method import Method
from smc_eval.methods.chts import Chts, Chtss
from smc_eval.methods.mest import Mest
from smc_eval.methods.rigl import RandomRigL
from smc_eval.methods.set import SparseEvolution
from smc_eval.methods.srigl import StructuredRigL
from smc_eval.sparse.allocate import budgets, expected
from smc_eval.sparse.pattern import rowwise
from smc_eval.target import Target
from smc_eval.testing import chain_of, run_chain, step_view

METHODS = (
    RandomRigL(),
    SparseEvolution(),
    Mest(),
    Mest(bound="hard"),
    StructuredRigL(),
    Chts(),
    Chts(score="ch3-l3p", draw="none", importance="relative"),
    Chtss(),
)
SHAPES = {
    "one": (1, 1),
    "row": (1, 6),
    "column": (6, 1),
    "wide": (2, 9),
    "kernel": (3, 2, 2, 2),
    "full": (2, 2),
}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.label)
@pytest.mark.parametrize("size", [0.0, 1.0])
@pytest.mark.parametrize("sparsity", [0.3, 0.95])
def test_tensors_of_width_one_and_weights_of_zero_keep_their_counts(
    method: Method, size: float, sparsity: float
) -> None:
    target = Target(sparsity=sparsity, distribution="uniform")
    prune, train = method.plan(target)
    first, source = budgets(SHAPES, prune.to), torch.Generator().manual_seed(0)
    weights = {name: size * torch.randn(shape, generator=source) for name, shape in SHAPES.items()}
    masks = {
        name: rowwise(torch.rand(shape, generator=source), first[name]) for name, shape in SHAPES.items()
    }
    for step in range(12):
        view = step_view(weights, weights, at=step, steps=12)
        view.net.set_masks(masks)
        train.updater.update(view, {})
        masks = view.net.masks
    assert {name: int(mask.sum()) for name, mask in masks.items()} == budgets(SHAPES, target)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.label)
def test_at_sparsity_zero_nothing_is_pruned(method: Method, tmp_path: Path) -> None:
    target = Target(sparsity=0.0, distribution=method.card.distribution)
    record, _, masks = run_chain(chain_of(method, target), tmp_path)
    assert record.certificate.ok and all(bool(mask.all()) for mask in masks.values())
    assert record.certificate.remaining == expected({n: tuple(m.shape) for n, m in masks.items()}, target)
