"""Top-KAST: a step by hand, a plain loop with autograd, held weights, and its cost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from smc_eval.errors import UsageError
from smc_eval.experiment.budget import Budget, PlanCost
from smc_eval.methods.top_kast import AlwaysSparse, TopKast
from smc_eval.recipe import Recipe
from smc_eval.target import Target
from smc_eval.testing import chain_of, run_chain, step_view

FIFTH = Target(sparsity=0.8, distribution="uniform")


def test_a_step_is_as_computed_by_hand() -> None:
    # D = 0.25: A has 2 of 8 weights, B twice as many; 1 / D = 4
    weight = torch.tensor([[1.0, -8.0, 3.0, 2.0, -7.0, 0.5, -6.0, 0.0]])
    gradient = torch.full((1, 8), 10.0)
    target = Target(sparsity=0.75, distribution="uniform")
    updater = AlwaysSparse(to=target, backward=2.0, penalty=0.1)
    view = step_view({"a": weight}, {"a": gradient}, at=0, steps=10)
    view.net.soft, view.between = True, True
    state = updater.remask(view, updater.init(view.weights, view.masks))
    assert view.net.masks["a"].int().tolist() == [[0, 1, 0, 0, 1, 0, 0, 0]]
    assert state["a"].tolist() == [[0, 1, 4, 0, 1, 0, 4, 0]]
    view.between, view.forward_masks = False, view.net.masks
    assert updater.update(view, state) is state
    # ten, and a tenth of -8 and -7 in A, of four times 3 and -6 in B alone
    wanted = torch.tensor([[0.0, 9.2, 11.2, 0.0, 9.3, 0.0, 7.6, 0.0]])
    torch.testing.assert_close(view.given["a"], wanted)
    assert view.held["a"].int().tolist() == [[0, 1, 1, 0, 1, 0, 1, 0]]
    assert view.read_shares == {"a": 0.5} and not view.read
    assert torch.equal(view.weights["a"], weight)


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 0.5},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "lr": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.1, "lr": 0.01},
    ],
    ids=["as published", "momentum", "adamw"],
)
@pytest.mark.parametrize(("every", "backward"), [(1, 2.0), (5, 3.0), (1, 100.0)])
def test_it_equals_a_plain_loop_with_autograd(
    recipe: dict[str, Any], every: int, backward: float, plain: Any
) -> None:
    penalty = 0.02
    method = TopKast(backward=backward, penalty=penalty, every=every)
    run = plain.watch(method, FIFTH, **recipe, steps=every * 20 if every > 1 else 12)
    optimizer: list[torch.optim.Optimizer] = []
    sets: dict[str, tuple[Tensor, Tensor]] = {}

    def learn(number: int, parameters: dict[str, Tensor], step: Any) -> None:
        if not number:
            optimizer.append(plain.optimizer(parameters, run.recipe))
        used, loss = dict(parameters), torch.zeros(())
        for name, given in step.masks.items():
            weight = parameters[name]
            if number % every == 0:
                b_size = min(weight.numel(), round(backward * 0.2 * weight.numel()))
                sets[name] = plain.top(weight, round(0.2 * weight.numel())), plain.top(weight, b_size)
            a, b = sets[name]
            assert torch.equal(a, given), name
            outer = weight * (b & ~a)
            used[name] = weight * a + outer - outer.detach()  # values of A, gradients of B
            loss = loss + penalty / 2 * ((weight * a).square().sum() + outer.square().sum() / 0.2)
        optimizer[0].zero_grad()
        (plain.loss(used, step) + loss).backward()
        before = {name: parameters[name].detach().clone() for name in sets}
        optimizer[0].step()
        with torch.no_grad():
            for name, (_, b) in sets.items():
                parameters[name].copy_(parameters[name].where(b, before[name]))

    plain.check(run, learn)
    last = run.steps[-1]
    for name, mask in run.masks.items():
        chosen = plain.top(last.after[name], int(mask.sum()))  # the last choice is of the last weights
        assert torch.equal(mask, chosen)
        assert torch.equal(run.tensors[name], last.after[name].where(mask, 0))


def test_weights_outside_of_b_keep_every_bit(plain: Any) -> None:
    run = plain.watch(TopKast(), FIFTH, optimizer="adamw", weight_decay=0.5, clip=1.0)
    waiting = 0
    for step in run.steps:
        for name, pull in step.state.items():
            outside = pull == 0
            waiting += int(outside.sum())
            assert torch.equal(step.after[name][outside], step.before[name][outside])
            assert not torch.equal(step.after[name][~outside], step.before[name][~outside])
            assert (pull == 1).equal(step.masks[name])
    assert waiting > 0
    assert any(
        not torch.equal(mask, after.masks[name])
        for before, after in pairwise(run.steps)
        for name, mask in before.masks.items()
    )


@pytest.mark.parametrize("distribution", ["global", "uniform", "rows", "erk"])
def test_the_sets_nest_under_every_distribution(distribution: Any) -> None:
    target = Target(sparsity=0.7, distribution=distribution)
    weights = {name: torch.randn(7, 5) for name in "abc"} | {"d": torch.randn(3, 1)}
    view = step_view(weights, weights, at=0, steps=4)
    view.net.soft = True
    updater = AlwaysSparse(to=target)
    pulls = updater.remask(view, updater.init(view.weights, view.masks))
    size = sum(weight.numel() for weight in weights.values())
    assert sum(int((pull == 1).sum()) for pull in pulls.values()) == round(0.3 * size)
    assert sum(int((pull != 0).sum()) for pull in pulls.values()) == pytest.approx(0.6 * size, abs=4)
    assert all(torch.equal(pull == 1, view.net.masks[name]) for name, pull in pulls.items())


def test_weights_that_are_all_zero_still_have_exact_sets() -> None:
    weights = {"a": torch.zeros(4, 5)}
    view = step_view(weights, weights, at=0, steps=4)
    view.net.soft = True
    updater = AlwaysSparse(to=FIFTH)
    pulls = updater.remask(view, {})
    assert pulls["a"].tolist() == [[1, 1, 1, 1, 5], [5, 5, 5, 0, 0], [0] * 5, [0] * 5]


def test_it_costs_the_forward_set_twice_and_the_backward_set_once(tmp_path: Path) -> None:
    updater = AlwaysSparse(to=FIFTH, backward=2.0)
    assert updater.densities(10, 1.0) == [(-1, pytest.approx(0.2))]
    assert updater.gradient_density(0.2) == pytest.approx(0.4)
    stages = list(TopKast().plan(FIFTH))
    cost = PlanCost(Budget(measure="flops"), stages, Recipe(steps=30), "top-kast").total([30])
    assert cost == pytest.approx(30 * (2 * 0.2 + 0.4) / 3)
    spent = {}
    for backward in (1.0, 2.0, 5.0):
        chain = chain_of(TopKast(backward=backward), FIFTH)
        spent[backward] = run_chain(chain, tmp_path / str(backward))[0].cost.flops.train.sparse
    # from 1 to 2 times A is a quarter of the way from A to all weights
    assert (spent[2.0] - spent[1.0]) / (spent[5.0] - spent[1.0]) == pytest.approx(1 / 4, rel=0.03)


def test_a_sparsity_of_zero_trains_all_weights(tmp_path: Path) -> None:
    record = run_chain(chain_of(TopKast(), Target(distribution="uniform")), tmp_path)[0]
    assert record.certificate.ok and record.certificate.reached == 0
    assert record.cost.flops.train.sparse == record.cost.flops.train.dense


def test_patterns_are_refused_because_the_paper_has_none() -> None:
    with pytest.raises(UsageError, match="'top-kast' does not support pattern '2:4'; it supports: free"):
        TopKast().accept(Target.parse("2:4"))


@pytest.mark.parametrize("wrong", [{"backward": 0.5}, {"penalty": -1}, {"every": 0}])
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TopKast(**wrong)
