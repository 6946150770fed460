"""CAP: on nets that are computed by hand, against oBERT, and in the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from smc_eval.methods.cap import CorrelationAware, GreedySurgeon
from smc_eval.methods.obert import OptimalBertSurgeon, Surgeon
from smc_eval.sparse.allocate import expected
from smc_eval.stages import Prune, Train
from smc_eval.target import Target
from smc_eval.testing import assert_equal, chain_of, run_chain
from tests.methods.test_obert import FixedProbe, noise, rise

seeds = st.integers(0, 10**6)


def greedy_surgeon(**options: Any) -> GreedySurgeon:
    return GreedySurgeon.model_validate(
        {
            "gradients": 256,
            "damping": 1e-7,
            "memory": 64,
            "mend": "joint",
            "dropout": False,
            "block": 50,
            **options,
        }
    )


def test_of_two_weights_that_stand_in_for_each_other_only_one_looks_cheap() -> None:
    # a: only the sum of its weights matters, F = [[1, 1], [1, 1]] + d I. Each alone costs w^2 / (2 / (2 d)),
    # hardly anything, so oBERT removes both before it touches b. After one has gone, the other is 2 + 3 = 5
    # and costs 25/2 (1 + d). b: gradients (1, 0) and (0, 1), halved in the mean: 1/4 w^2, 1 and 9/4.
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    weights = {"a": torch.tensor([[2.0, 3.0]]), "b": torch.tensor([[2.0, 3.0]])}
    gradients = [{"a": torch.ones(1, 2), "b": first}, {"a": torch.ones(1, 2), "b": second}]
    target, options = Target(sparsity=0.5), {"gradients": 2}
    probe = FixedProbe(weights, gradients)
    masks = greedy_surgeon(**options).prune(probe, target)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "a": [[False, True]],
        "b": [[False, True]],
    }
    assert probe.now["a"].tolist() == [[0.0, pytest.approx(5.0)]]
    assert probe.now["b"].tolist() == [[0.0, pytest.approx(3.0)]]
    by_obert = Surgeon.model_validate(greedy_surgeon(**options).model_dump())
    masks = by_obert.prune(FixedProbe(weights, gradients), target)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "a": [[False, False]],
        "b": [[True, True]],
    }


@given(seeds, st.sampled_from([0.3, 0.6, 0.9]))
def test_blocks_of_one_give_the_net_of_obert(seed, sparsity) -> None:
    ends = []
    for kind in (GreedySurgeon, Surgeon):
        probe = noise(seed, a=(7, 5), b=(4, 6))
        by = kind.model_validate(greedy_surgeon(block=1, gradients=40, damping=1e-3).model_dump())
        ends.append((by.prune(probe, Target(sparsity=sparsity)), probe.now))
    assert_equal(ends[0], ends[1])


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7, 0.9])
def test_a_quadratic_rises_less_than_with_obert(sparsity: float) -> None:
    rises = []
    for kind in (GreedySurgeon, Surgeon):
        probe = noise(0, 64, a=(20, 10), b=(10, 10))
        before = dict(probe.now)
        kind.model_validate(greedy_surgeon(block=10).model_dump()).prune(probe, Target(sparsity=sparsity))
        rises.append(rise(probe, before, probe.now))
    assert rises[0] < rises[1]


@pytest.mark.parametrize("word", ["0.5", "2:4", "4:8", "1:4"])
@pytest.mark.parametrize("distribution", ["global", "uniform", "rows", "erk", "lamp", "owl"])
def test_every_distribution_and_pattern_is_met_exactly(word: str, distribution: Any) -> None:
    target = Target.parse(word).with_distribution(distribution)
    probe = noise(1, a=(7, 5), b=(3, 2, 8), c=(1, 1), d=(6, 1))
    masks = greedy_surgeon(block=6).prune(probe, target)
    count = sum(int(mask.sum()) for mask in masks.values())
    assert count == expected({name: tuple(mask.shape) for name, mask in masks.items()}, target)
    assert all(not probe.now[name][~mask].any() for name, mask in masks.items())
    assert all(bool(weight.isfinite().all()) for weight in probe.now.values())


def test_pruned_weights_stay_pruned() -> None:
    for words in (("0.4", "0.7"), ("3:4", "2:4")):
        probe = noise(3, w=(6, 10))
        first, second = (Target.parse(word) for word in words)
        probe.set_masks(greedy_surgeon(block=10).prune(probe, first))
        pruned = ~probe.unpruned["w"]
        masks = greedy_surgeon(block=10).prune(probe, second)
        assert not (masks["w"] & pruned).any() and int(masks["w"].sum()) == expected({"w": (6, 10)}, second)


def test_a_net_of_zeros_loses_its_first_weights() -> None:
    probe = FixedProbe({"w": torch.zeros(2, 4)}, [{"w": torch.ones(2, 4)}])
    masks = greedy_surgeon(gradients=1, block=4).prune(probe, Target(sparsity=0.5))
    assert int(masks["w"].sum()) == 4 and not probe.now["w"].any()


def test_a_target_of_0_changes_nothing() -> None:
    probe = noise(1, w=(7, 5))
    before = dict(probe.now)
    assert greedy_surgeon().prune(probe, Target())["w"].all()
    assert_equal([probe.now], [before])


def test_it_costs_the_passes_of_obert(tmp_path: Path) -> None:
    record, _, _ = run_chain(chain_of(CorrelationAware(gradients=8), Target(sparsity=0.7)), tmp_path)
    assert record.cost.scoring_passes == 8


def test_the_plan_is_that_of_obert_with_other_scores() -> None:
    target = Target(sparsity=0.9375)
    options: dict[str, Any] = {"block": 16, "gradients": 3, "damping": 0.1, "rounds": 2, "levels": 2}
    plan = list(CorrelationAware(**options).plan(target))
    for stage, other in zip(plan, OptimalBertSurgeon(**options).plan(target), strict=True):
        if isinstance(stage, Prune):
            assert isinstance(other, Prune) and isinstance(stage.by, GreedySurgeon)
            assert (stage.to, stage.by.block, stage.by.damping) == (other.to, 16, 0.1)
            assert (stage.by.mend, stage.by.dropout) == ("joint", False)
        else:
            assert stage == other == Train()


def test_the_memory_limit_is_not_part_of_the_digest() -> None:
    assert CorrelationAware(memory=16).digest() == CorrelationAware(memory=100).digest()


@pytest.mark.parametrize(
    "wrong", [{"block": 0}, {"block": 2000}, {"damping": 0}, {"gradients": 0}, {"memory": 1}, {"levels": 0}]
)
def test_options_out_of_bounds_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        CorrelationAware.model_validate(wrong)
