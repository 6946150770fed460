"""SR-STE: a step by hand, a plain loop with autograd, and the projection of the last weights."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from smc_eval.errors import UsageError
from smc_eval.methods.sr_ste import SparseRefined, SrSte
from smc_eval.target import Target
from smc_eval.testing import chain_of, run_chain, step_view

TWO_OF_FOUR = Target.parse("2:4")


def test_a_step_is_as_computed_by_hand() -> None:
    # groups: 1 -4 3 2 | 0.5 0.5 -0.5 0: of equal weights those of lower index stay
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.5, 0.5, -0.5, 0.0]])
    gradient = torch.tensor([[10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]])
    updater = SparseRefined(to=TWO_OF_FOUR, decay=0.1)
    view = step_view({"a": weight}, {"a": gradient}, at=3, steps=10)
    view.net.soft, view.between = True, True
    updater.remask(view, {})
    assert view.net.masks["a"].int().tolist() == [[0, 1, 1, 0, 1, 1, 0, 0]]
    assert torch.equal(view.weights["a"], weight)  # the dense weights stay
    view.between = False
    updater.update(view, {})
    # g + 0.1 w where w is pruned
    wanted = torch.tensor([[10.1, 20.0, 30.0, 40.2, 50.0, 60.0, 69.95, 80.0]])
    torch.testing.assert_close(view.given["a"], wanted)
    assert torch.equal(view.grads["a"], gradient)


def projection(weight: Tensor, n: int, m: int) -> Tensor:
    """The N:M mask by brute force: the subset of each group with the largest sum of magnitudes."""
    flat = weight.detach().abs().flatten(1)
    mask = torch.zeros_like(flat, dtype=torch.bool)
    for row, values in enumerate(flat):
        for start in range(0, len(values), m):
            group = values[start : start + m].tolist()
            size = -(-len(group) * n // m)
            best = max(combinations(range(len(group)), size), key=lambda kept: sum(group[i] for i in kept))
            mask[row, [start + i for i in best]] = True
    return mask.view(weight.shape)


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "lr": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.1, "lr": 0.01},
    ],
    ids=["sgd", "adamw"],
)
@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:8"])
def test_it_equals_a_plain_loop_with_the_straight_through_estimator(
    recipe: dict[str, Any], pattern: str, plain: Any
) -> None:
    target, decay = Target.parse(pattern), 0.05
    run = plain.watch(SrSte(decay=decay), target, **recipe)
    assert len(run.steps) == 12
    optimizer: list[torch.optim.Optimizer] = []

    def learn(number: int, parameters: dict[str, Tensor], step: Any) -> None:
        if not number:
            optimizer.append(plain.optimizer(parameters, run.recipe))
        used, penalty = dict(parameters), torch.zeros(())
        for name, given in step.masks.items():
            mask = projection(parameters[name], *target.group)
            assert torch.equal(mask, given), name
            pruned = parameters[name] * ~mask
            used[name] = parameters[name] - pruned.detach()  # W' forward, the identity backward
            penalty = penalty + decay / 2 * pruned.square().sum()
        optimizer[0].zero_grad()
        (plain.loss(used, step) + penalty).backward()
        optimizer[0].step()

    plain.check(run, learn)
    for name, mask in run.masks.items():
        last = run.steps[-1].after[name]
        assert torch.equal(mask, projection(last, *target.group))
        assert torch.equal(run.tensors[name], last.where(mask, 0))


def test_pruned_weights_return_and_the_gradients_count_as_dense(tmp_path: Path) -> None:
    record = run_chain(chain_of(SrSte(), TWO_OF_FOUR), tmp_path)[0]
    certificate, flops = record.certificate, record.cost.flops.train
    assert certificate.ok and certificate.regrown > 0
    # forward and backward through the inputs are half, the gradient of weights is whole: more than 2/3
    assert 2 / 3 * flops.dense < flops.sparse < flops.dense
    assert list(SparseRefined(to=TWO_OF_FOUR).dense_gradient_steps(5)) == [0, 1, 2, 3, 4]


def test_without_decay_it_is_the_plain_straight_through_estimator() -> None:
    view = step_view({"a": torch.ones(1, 4)}, {"a": torch.ones(1, 4)}, at=1, steps=4)
    view.net.soft = True
    SparseRefined(to=TWO_OF_FOUR, decay=0).update(view, {})
    assert not view.given


def test_a_group_of_zeros_keeps_its_first_weights() -> None:
    weights = {"a": torch.zeros(2, 4), "b": torch.zeros(3, 1)}
    view = step_view(weights, weights, at=0, steps=4)
    view.net.soft = True
    SparseRefined(to=TWO_OF_FOUR).remask(view, {})
    masks = {name: mask.int().tolist() for name, mask in view.net.masks.items()}
    assert masks == {"a": [[1, 1, 0, 0]] * 2, "b": [[1]] * 3}  # a layer of width 1 has no whole group


def test_free_sparsity_is_refused_because_the_paper_has_none() -> None:
    with pytest.raises(UsageError, match="'sr-ste' does not support pattern 'free'; it supports: n:m"):
        SrSte().accept(Target(sparsity=0.5))


def test_its_decay_is_a_small_number() -> None:
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="decay"):
            SrSte(decay=wrong)
