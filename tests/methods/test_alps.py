"""ALPS in a net. tests/sparse/test_admm.py tests the search in one tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from smc_eval.errors import UsageError
from smc_eval.methods.alps import Alps, SupportSearch
from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.sparse.allocate import budgets, expected
from smc_eval.sparse.pattern import fits
from smc_eval.stages import Prune, Train
from smc_eval.target import Distribution, Target
from smc_eval.testing import Toy, chain_of, run_chain


class Untrained(Toy):
    """The untrained net, to see the effect of pruning alone."""

    recipe: Any = Toy().recipe.model_copy(update={"steps": 0})


@pytest.mark.parametrize("distribution", ["uniform", "erk"])
def test_every_tensor_meets_its_budget(tmp_path: Path, distribution: Distribution) -> None:
    target = Target(sparsity=0.7, distribution=distribution)
    record, _, masks = run_chain(chain_of(Alps(batches=2), target), tmp_path)
    assert record.certificate.ok
    assert record.cost.scoring_passes == 2
    wanted = budgets({name: tuple(mask.shape) for name, mask in masks.items()}, target)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == wanted


@pytest.mark.parametrize("distribution", ["owl", "alpha"])
def test_the_count_of_all_tensors_is_exact(tmp_path: Path, distribution: Distribution) -> None:
    target = Target(sparsity=0.7, distribution=distribution)
    record, _, masks = run_chain(chain_of(Alps(batches=2), target), tmp_path)
    assert record.certificate.ok
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    assert sum(int(mask.sum()) for mask in masks.values()) == expected(shapes, target)
    assert record.cost.scoring_passes == (4 if distribution == "owl" else 2)  # owl needs the outliers first


def test_a_pattern_is_met_in_every_group(tmp_path: Path) -> None:
    record, tensors, masks = run_chain(chain_of(Alps(batches=2), Target.parse("2:4"), Untrained()), tmp_path)
    assert record.certificate.ok
    assert all(fits(mask, 2, 4) for mask in masks.values())
    assert all(not bool(tensors[name][~mask].any()) for name, mask in masks.items())


@pytest.mark.parametrize("distribution", ["global", "rows", "lamp"])
def test_other_distributions_are_refused(distribution: Distribution) -> None:
    with pytest.raises(UsageError, match=f"'alps' does not support distribution '{distribution}'"):
        chain_of(Alps(), Target(sparsity=0.5, distribution=distribution))


def test_the_outputs_of_a_layer_change_less_than_with_sparsegpt(tmp_path: Path) -> None:
    # `down` reads 10 normed features; both methods see the same inputs of the same untrained net
    task, target = Untrained(), Target(sparsity=0.6, distribution="uniform")
    nets = {
        name: run_chain(chain_of(method, to, task), tmp_path / name)[1]
        for name, method, to in (
            ("dense", Alps(), target.at(0.0)),
            ("alps", Alps(calibrate="once"), target),
            ("sparsegpt", SparseGPT(calibrate="once"), target),
        )
    }
    model = task.model()
    model.load_state_dict({**model.state_dict(), **nets["dense"]})
    seen: list[Tensor] = []
    model.eval().down.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))  # type: ignore[union-attr]
    with torch.no_grad():
        model(task.collate(task.data("train"))["tokens"])
    change = {
        name: float((seen[0] @ (net["down.weight"] - nets["dense"]["down.weight"]).T).norm())
        for name, net in nets.items()
    }
    assert 0 < change["alps"] < change["sparsegpt"]


def test_the_plan_trains_prunes_and_trains() -> None:
    target = Target(sparsity=0.5, distribution="uniform")
    options: dict[str, Any] = {
        "batches": 3,
        "calibrate": "once",
        "damping": 0.1,
        "penalty": 0.2,
        "iterations": 50,
        "refinements": 5,
        "memory": 7,
    }
    plan = list(Alps(**options).plan(target))
    assert plan == [Train(), Prune(by=SupportSearch(**options), to=target), Train()]
