"""Movement pruning: scores of two steps by hand, and pruned weights that return with their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.train import Training
from smc_eval.errors import UsageError
from smc_eval.methods.movement import Move, Movement
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain, step_view

WEIGHTS = {"a": torch.tensor([[1.0, -2.0]]), "b": torch.tensor([[0.5, 4.0]])}


def test_the_scores_of_two_steps_are_as_computed_by_hand() -> None:
    updater = Move(to=Target(sparsity=0.5), since=0.0, until=0.5)
    gradients = {"a": torch.tensor([[-0.3, 0.1]]), "b": torch.tensor([[0.2, 0.05]])}
    first = step_view(WEIGHTS, gradients, at=0, steps=3)
    scores = updater.update(first, updater.init(first.weights, first.masks))
    # -g w: 0.3 (away from zero), 0.2 (away from zero), -0.1, -0.2 (both towards it)
    torch.testing.assert_close(scores, {"a": torch.tensor([[0.3, 0.2]]), "b": torch.tensor([[-0.1, -0.2]])})

    gradients = {"a": torch.tensor([[0.4, 0.1]]), "b": torch.tensor([[-0.8, 0.05]])}
    second = step_view(WEIGHTS, gradients, at=2, steps=3)
    second.net.soft = True
    scores = updater.update(second, scores)
    torch.testing.assert_close(scores, {"a": torch.tensor([[-0.1, 0.4]]), "b": torch.tensor([[0.3, -0.4]])})
    masks = {name: mask.int().tolist() for name, mask in second.net.masks.items()}
    assert masks == {"a": [[0, 1]], "b": [[1, 0]]}  # the largest weight, 4, is pruned
    torch.testing.assert_close({**second.weights}, WEIGHTS)  # and keeps its value


@pytest.mark.parametrize(
    ("distribution", "masks"), [("global", ([[1, 1]], [[0, 0]])), ("uniform", ([[1, 0]], [[1, 0]]))]
)
def test_scores_are_compared_over_the_net_or_within_a_matrix(distribution: Any, masks: Any) -> None:
    gradients = {"a": torch.tensor([[-0.3, 0.1]]), "b": torch.tensor([[0.2, 0.05]])}
    updater = Move(to=Target(sparsity=0.5, distribution=distribution), since=0.0, until=0.0)
    view = step_view(WEIGHTS, gradients, at=0, steps=3)
    updater.update(view, updater.init(view.weights, view.masks))
    assert tuple(mask.int().tolist() for mask in view.net.masks.values()) == masks


def test_pruned_weights_are_scored_and_return_with_their_values() -> None:
    updater = Move(to=Target(sparsity=0.5), since=0.0, until=0.0)
    view = step_view({"a": WEIGHTS["a"]}, {"a": torch.tensor([[-5.0, 0.1]])}, at=4, steps=9)
    view.net.soft, view.net.masks = True, {"a": torch.tensor([[0, 1]]).bool()}
    updater.update(view, {"a": torch.tensor([[0.0, 1.0]])})
    assert view.net.masks["a"].tolist() == [[True, False]]
    with view.net.masked():
        assert view.net.weights["a"].tolist() == [[1.0, 0.0]]


def test_masks_change_from_the_warm_up_to_the_end() -> None:
    updater = Move(to=Target(sparsity=0.5))
    targets = [updater.due(step, 20) for step in range(20)]
    assert [step for step, to in enumerate(targets) if to] == [*range(2, 20)]
    assert [to.sparsity for to in targets[16:] if to] == [0.5] * 4
    assert targets[9] and targets[9].sparsity == pytest.approx(0.4375)  # 0.5 (1 - 1/8), half-way from 2 to 16
    assert [step for step in range(20) if Move(to=Target(sparsity=0.5), every=3, events=1).due(step, 20)] == [
        *range(2, 16, 3), 16, 19,
    ]  # fmt: skip


def test_gradients_do_not_change_pruned_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The net trains on masks times weights: under plain SGD, weights that stay pruned keep their values."""
    steps: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    advance = Training._advance

    def recorded(training: Training) -> float:
        loss = advance(training)
        net = training.net
        steps.append(
            (
                {n: w.clone() for n, w in net.weights.items()},
                {n: m.clone() for n, m in net.full_masks.items()},
            )
        )
        return loss

    monkeypatch.setattr(Training, "_advance", recorded)
    changed = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 0.5}
    task = Toy(recipe=Toy().recipe.model_copy(update=changed))
    record = run_chain(chain_of(Movement(), Target(sparsity=0.8, distribution="uniform"), task), tmp_path)[0]
    assert record.certificate.ok and record.certificate.regrown > 0
    (before, _), (after, masks) = steps[-2:]
    for name, mask in masks.items():
        assert torch.equal(after[name][~mask], before[name][~mask])
        assert after[name][~mask].any() and not torch.equal(after[name][mask], before[name][mask])


def test_an_epoch_is_selected_by_the_predictions_of_the_masked_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ZeroCount(Toy):
        def predict(self, model: nn.Module, batch: Any) -> list[int]:
            zeros.append(sum(int((weight == 0).sum()) for weight in model.parameters() if weight.ndim == 2))
            return super().predict(model, batch)

    zeros: list[int] = []
    changed = {"keep": "best", "validation": 0.25, "epochs": 4, "steps": None}
    task = ZeroCount(recipe=Toy().recipe.model_copy(update=changed))
    record = run_chain(chain_of(Movement(), Target(sparsity=0.8, distribution="uniform"), task), tmp_path)[0]
    size = record.certificate.in_scope - record.certificate.remaining
    assert record.certificate.ok and len(zeros) == 5  # four epochs and the score
    assert zeros[-1] == zeros[-2] == size


def test_every_group_meets_a_pattern(tmp_path: Path) -> None:
    _, tensors, masks = run_chain(chain_of(Movement(), Target.parse("2:4")), tmp_path)
    groups = masks["down.weight"][:, :8].reshape(-1, 4).sum(1)
    assert groups.tolist() == [2] * 16
    assert not tensors["down.weight"][~masks["down.weight"]].any()


def test_lamp_is_refused_because_scores_have_a_sign() -> None:
    with pytest.raises(
        UsageError, match="'movement' does not support distribution 'lamp'; it supports: global, uniform, erk"
    ):
        Movement().accept(Target(sparsity=0.5, distribution="lamp"))
