"""Movement pruning: scores of two steps by hand, and pruned weights that return with their values."""

from __future__ import annotations

from itertools import pairwise
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


def test_the_masks_of_the_forward_pass_decide_which_weights_a_step_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The net trains on W * M. Under plain SGD, M = 0 keeps a weight, also if this step unprunes it; M = 1
    changes it, also if this step prunes it."""
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
    dropped_count = grown_count = 0
    for (before, forward), (after, masks) in pairwise(steps):
        for name, mask in forward.items():
            assert torch.equal(after[name][~mask], before[name][~mask])
            dropped, grown = mask & ~masks[name], masks[name] & ~mask
            learnt = before[name][dropped] != after[name][dropped]
            dropped_count, grown_count = dropped_count + int(learnt.sum()), grown_count + int(grown.sum())
    assert dropped_count and grown_count


def test_adamw_learns_the_scores_as_torchs_does_at_a_linear_rate() -> None:
    torch.manual_seed(0)
    updater = Move(to=Target(sparsity=0.5), since=0.2, until=0.8, learning="adamw")
    scores = torch.zeros(1, 2, requires_grad=True)
    optimizer = torch.optim.AdamW([scores], lr=1.0, weight_decay=0.0)
    # warm-up over 0.2 * 10 steps, then down to 0 at the end
    rates = [0.0, 0.5, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    state = updater.init({"a": WEIGHTS["a"]}, {})
    for step, rate in enumerate(rates):
        gradient = torch.randn(1, 2)
        view = step_view({"a": WEIGHTS["a"]}, {"a": gradient}, at=step, steps=len(rates))
        view.net.soft = True
        state = updater.update(view, state)
        optimizer.param_groups[0]["lr"] = rate
        scores.grad = gradient * WEIGHTS["a"]  # dL/dM of W * M
        optimizer.step()
        torch.testing.assert_close(state["a"][..., 0], scores.detach())
    assert view.net.masks["a"].tolist() == [
        [bool(scores[0, 0] > scores[0, 1]), bool(scores[0, 1] > scores[0, 0])]
    ]


def test_the_course_of_the_rate_changes_the_order_of_scores() -> None:
    # -g w: 3 and 0 at the first step, 0 and 2 at each of two later ones: the sum prefers the second weight
    # AdamW divides by the size of the gradients, and its rates are 1, 2/3 and 1/3
    gradients = ([[-3.0, 0.0]], [[0.0, -2.0]], [[0.0, -2.0]])
    kept = {}
    for learning in ("sum", "adamw"):
        updater = Move(to=Target(sparsity=0.5), since=0.0, until=0.6, learning=learning)
        state = updater.init({"a": torch.ones(1, 2)}, {})
        for step, gradient in enumerate(gradients):
            view = step_view({"a": torch.ones(1, 2)}, {"a": torch.tensor(gradient)}, at=step, steps=3)
            view.net.soft = True
            state = updater.update(view, state)
        kept[learning] = view.net.masks["a"].tolist()
    assert kept == {"sum": [[False, True]], "adamw": [[True, False]]}


def test_a_net_whose_scores_adamw_learnt_is_certified(tmp_path: Path) -> None:
    chain = chain_of(Movement(learning="adamw"), Target(sparsity=0.8, distribution="uniform"))
    assert run_chain(chain, tmp_path)[0].certificate.ok


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
