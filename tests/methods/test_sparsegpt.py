"""SparseGPT in a net. tests/sparse/test_reconstruct.py tests the reconstruction of one tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from smc_eval.errors import UsageError
from smc_eval.methods.sparsegpt import Reconstruction, SparseGPT
from smc_eval.sparse.allocate import budgets
from smc_eval.stages import Prune, Train
from smc_eval.target import Distribution, Target
from smc_eval.testing import Toy, chain_of, run_chain


@pytest.mark.parametrize("distribution", ["uniform", "erk", "owl"])
def test_every_tensor_meets_its_budget(tmp_path: Path, distribution: Distribution) -> None:
    target = Target(sparsity=0.7, distribution=distribution)
    record, _, masks = run_chain(chain_of(SparseGPT(batches=2), target), tmp_path)
    assert record.certificate.ok
    assert record.cost.scoring_passes == (4 if distribution == "owl" else 2)  # owl needs the outliers first
    if distribution != "owl":
        wanted = budgets({name: tuple(mask.shape) for name, mask in masks.items()}, target)
        assert {name: int(mask.sum()) for name, mask in masks.items()} == wanted


@pytest.mark.parametrize("distribution", ["global", "rows", "lamp"])
def test_other_distributions_are_refused(distribution: Distribution) -> None:
    with pytest.raises(
        UsageError, match=f"does not support distribution '{distribution}'; it supports: uniform, erk, owl"
    ):
        chain_of(SparseGPT(), Target(sparsity=0.5, distribution=distribution))


class Untrained(Toy):
    """The untrained net, to see the effect of pruning alone."""

    recipe: Any = Toy().recipe.model_copy(update={"steps": 0})


def test_less_memory_costs_passes_and_gives_an_equal_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(sparsity=0.6, distribution="uniform")
    whole = run_chain(chain_of(SparseGPT(batches=3), target, Untrained()), tmp_path / "whole")
    monkeypatch.setattr(Reconstruction, "_sweeps", lambda self, weights: ([name] for name in weights))
    parts = run_chain(chain_of(SparseGPT(batches=3), target, Untrained()), tmp_path / "parts")
    assert (whole[0].cost.scoring_passes, parts[0].cost.scoring_passes) == (3, 3 * len(whole[2]))
    for tensors, others in zip(whole[1:], parts[1:], strict=True):
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_a_sweep_has_as_many_tensors_as_fit_and_at_least_one() -> None:
    # 512 inputs make 1 MiB, 1024 make 4
    weights = {
        name: torch.empty(2, inputs) for name, inputs in zip("abcde", (512, 512, 1024, 8, 512), strict=True)
    }
    assert list(Reconstruction(memory=2)._sweeps(weights)) == [["a", "b"], ["c"], ["d", "e"]]
    assert list(Reconstruction()._sweeps(weights)) == [list("abcde")]


def test_remaining_weights_are_updated_except_those_of_a_lookup_table(tmp_path: Path) -> None:
    class Table(Untrained):
        """The output layer is not tied to the embedding, which is then a lookup table only."""

        def model(self) -> nn.Module:
            net = super().model()
            net.out.weight = nn.Parameter(net.words.weight.detach().clone())
            return net

    target = Target(sparsity=0.6, distribution="uniform", scope="all-2d")
    chain = chain_of(SparseGPT(), target, Table())
    _, tensors, masks = run_chain(chain, tmp_path)
    torch.manual_seed(0)
    dense = run_chain(
        chain_of(SparseGPT(), Target(distribution="uniform", scope="all-2d"), Table()), tmp_path
    )[1]
    moved = {name: not torch.equal(tensors[name], dense[name] * mask) for name, mask in masks.items()}
    assert {name for name, did in moved.items() if not did} == {"words.weight"}


def test_the_plan_trains_prunes_and_trains() -> None:
    target = Target(sparsity=0.5, distribution="uniform")
    plan = list(SparseGPT(batches=3, damping=0.1, block=64, memory=7).plan(target))
    by = Reconstruction(batches=3, damping=0.1, block=64, memory=7)
    assert plan == [Train(), Prune(by=by, to=target), Train()]
