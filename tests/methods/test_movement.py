"""Movement pruning: scores over two steps by hand, and masked weights that wait for their return."""

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


def test_scores_of_two_steps_by_hand() -> None:
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
    assert masks == {"a": [[0, 1]], "b": [[1, 0]]}  # the largest weight of all, 4, is gone
    torch.testing.assert_close({**second.weights}, WEIGHTS)  # and lives on behind its mask


@pytest.mark.parametrize(
    ("spread", "masks"), [("global", ([[1, 1]], [[0, 0]])), ("uniform", ([[1, 0]], [[1, 0]]))]
)
def test_survivors_compete_within_the_net_or_within_a_matrix(distribution: Any, masks: Any) -> None:
    gradients = {"a": torch.tensor([[-0.3, 0.1]]), "b": torch.tensor([[0.2, 0.05]])}
    updater = Move(to=Target(sparsity=0.5, distribution=distribution), since=0.0, until=0.0)
    now = step_view(WEIGHTS, gradients, at=0, steps=3)
    updater.update(now, updater.init(now.weights, now.masks))
    assert tuple(mask.int().tolist() for mask in now.net.masks.values()) == masks


def test_what_is_masked_is_scored_and_comes_back_with_its_value() -> None:
    updater = Move(to=Target(sparsity=0.5), since=0.0, until=0.0)
    now = step_view({"a": WEIGHTS["a"]}, {"a": torch.tensor([[-5.0, 0.1]])}, at=4, steps=9)
    now.net.soft, now.net.masks = True, {"a": torch.tensor([[0, 1]]).bool()}
    updater.update(now, {"a": torch.tensor([[0.0, 1.0]])})
    assert now.net.masks["a"].tolist() == [[True, False]]
    with now.net.masked():
        assert now.net.weights["a"].tolist() == [[1.0, 0.0]]


def test_survivors_are_chosen_from_the_warm_up_to_the_end() -> None:
    updater = Move(to=Target(sparsity=0.5))
    found = [updater.due(step, 20) for step in range(20)]
    assert [step for step, to in enumerate(found) if to] == [*range(2, 20)]
    assert [to.sparsity for to in found[16:] if to] == [0.5] * 4
    assert found[9] and found[9].sparsity == pytest.approx(0.4375)  # 0.5 (1 - 1/8), half-way from 2 to 16
    assert [step for step in range(20) if Move(to=Target(sparsity=0.5), every=3, events=1).due(step, 20)] == [
        *range(2, 16, 3), 16, 19,
    ]  # fmt: skip


def test_hidden_weights_neither_move_nor_fade_by_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The net learns by masks times weights: under plain SGD what stays masked keeps its value."""
    seen: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    advance = Training._advance

    def watched(training: Training) -> float:
        loss = advance(training)
        net = training.net
        seen.append(
            ({n: w.clone() for n, w in net.weights.items()}, {n: m.clone() for n, m in net.alive.items()})
        )
        return loss

    monkeypatch.setattr(Training, "_advance", watched)
    changed = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 0.5}
    task = Toy(recipe=Toy().recipe.model_copy(update=changed))
    result = run_chain(chain_of(Movement(), Target(sparsity=0.8, distribution="uniform"), task), tmp_path)[0]
    assert result.certificate.ok and result.certificate.regrown > 0
    (before, _), (after, masks) = seen[-2:]
    for name, mask in masks.items():
        assert torch.equal(after[name][~mask], before[name][~mask])
        assert after[name][~mask].any() and not torch.equal(after[name][mask], before[name][mask])


def test_an_epoch_is_selected_by_what_the_masked_net_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Looking(Toy):
        def predict(self, model: nn.Module, batch: Any) -> list[int]:
            gone.append(sum(int((weight == 0).sum()) for weight in model.parameters() if weight.ndim == 2))
            return super().predict(model, batch)

    gone: list[int] = []
    changed = {"keep": "best", "validation": 0.25, "epochs": 4, "steps": None}
    task = Looking(recipe=Toy().recipe.model_copy(update=changed))
    result = run_chain(chain_of(Movement(), Target(sparsity=0.8, distribution="uniform"), task), tmp_path)[0]
    size = result.certificate.in_scope - result.certificate.remaining
    assert result.certificate.ok and len(gone) == 5  # four epochs and the score
    assert gone[-1] == gone[-2] == size


def test_patterns_hold_in_every_group(tmp_path: Path) -> None:
    _, tensors, masks = run_chain(chain_of(Movement(), Target.parse("2:4")), tmp_path)
    groups = masks["down.weight"][:, :8].reshape(-1, 4).sum(1)
    assert groups.tolist() == [2] * 16
    assert not tensors["down.weight"][~masks["down.weight"]].any()


def test_layer_adaptive_saliencies_would_need_scores_above_zero() -> None:
    with pytest.raises(UsageError, match="'movement' cannot spread 'lamp'; it spreads: global, uniform, erk"):
        Movement().accept(Target(sparsity=0.5, distribution="lamp"))
