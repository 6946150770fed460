"""AC/DC: its phases, a plain loop with hooks, momentum, and what grows back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from smc_eval.engine.train import Training
from smc_eval.experiment.budget import Budget, PlanCost
from smc_eval.methods.ac_dc import AcDc, Alternate
from smc_eval.recipe import Recipe
from smc_eval.target import Target
from smc_eval.testing import chain_of, run_chain, step_view

TENTH = Target(sparsity=0.9)


def test_a_hundred_steps_have_the_published_phases() -> None:
    # epochs of the schedule for ImageNet: compressed from 10, 20, ..., 70 and 85; dense from 15, 25, ..., 75
    compressed = [*range(10, 71, 10), 85]
    dense = [*range(15, 76, 10)]
    wanted = sorted([(start, True) for start in compressed] + [(start, False) for start in dense])
    assert Alternate(to=TENTH).phases(100) == wanted
    assert Alternate(to=TENTH).phases(1000) == [(10 * start, kind) for start, kind in wanted]


def test_the_schedule_for_cifar_needs_other_options() -> None:
    # 200 epochs: compressed from 10, 50, 90, 130, 170; dense from 30, 70, 110, 150
    updater = Alternate(to=TENTH, warmup=0.05, phase=0.1, last_dense=0.1, last_compressed=0.15)
    assert updater.phases(200) == [
        (10, True), (30, False), (50, True), (70, False), (90, True), (110, False), (130, True), (150, False),
        (170, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"warmup": 0.0},
        {"phase": 1.0},
        {"last_dense": 0.0},
        {"last_compressed": 0.0},
        {"warmup": 0.9, "last_dense": 0.05, "last_compressed": 0.02},
    ],
    ids=str,
)
def test_phases_take_turns_and_the_last_one_is_compressed(options: dict[str, float]) -> None:
    updater = Alternate(to=TENTH, **options)
    for steps in (*range(60), 1000, 12345):
        phases = updater.phases(steps)
        starts, kinds = [start for start, _ in phases], [compressed for _, compressed in phases]
        assert starts == sorted(set(starts)) and all(0 <= start <= steps for start in starts)
        assert kinds == [number % 2 == 0 for number in range(len(kinds))] and kinds[-1]
        assert len(phases) <= 21  # at most 0.95 / 0.05, and the last two


def test_a_short_training_still_has_several_phases() -> None:
    starts = (1, 2, 3, 4, 5, 6, 7, 9, 10)
    assert Alternate(to=TENTH).phases(12) == [(start, number % 2 == 0) for number, start in enumerate(starts)]


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "lr": 0.2},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "lr": 0.2, "clip": 0.05},
    ],
    ids=["sgd", "clipped"],
)
@pytest.mark.parametrize("reset", [True, False])
def test_it_equals_a_plain_loop_with_masks_and_hooks(  # noqa: C901  # two short functions within
    recipe: dict[str, Any],
    reset: bool,  # noqa: FBT001
    plain: Any,
) -> None:
    run = plain.watch(AcDc(reset=reset), Target(sparsity=0.6), **recipe, steps=40)
    compressed, dense = {4, 8, 12, 16, 20, 24, 28, 34}, {6, 10, 14, 18, 22, 26, 30}
    optimizer: list[torch.optim.Optimizer] = []
    masks: dict[str, Tensor] = {}

    def compress(parameters: dict[str, Tensor]) -> None:
        scope = sorted(run.masks)
        joined = torch.cat([parameters[name].detach().view(-1) for name in scope])
        parts = plain.top(joined, round(0.4 * len(joined))).split([parameters[n].numel() for n in scope])
        for name, part in zip(scope, parts, strict=True):
            masks[name] = part.view(parameters[name].shape)
            parameters[name].data.mul_(masks[name])

    def decompress(parameters: dict[str, Tensor]) -> None:
        for name, mask in masks.items():
            optimizer[0].state[parameters[name]]["momentum_buffer"].mul_(mask)  # of what grows back
        masks.clear()
        for state in optimizer[0].state.values() if reset else ():
            state["momentum_buffer"].zero_()

    def learn(number: int, parameters: dict[str, Tensor], step: Any) -> None:
        if not number:
            optimizer.append(plain.optimizer(parameters, run.recipe))
        for name, given in step.masks.items():
            assert torch.equal(given, masks.get(name, torch.ones_like(given)))
        hooks = [
            parameters[n].register_hook(lambda grad, mask=mask: grad * mask) for n, mask in masks.items()
        ]
        optimizer[0].zero_grad()
        plain.loss(parameters, step).backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), run.recipe.clip or float("inf"))
        optimizer[0].step()
        for hook in hooks:
            hook.remove()
        for name, mask in masks.items():
            parameters[name].data.mul_(mask)
        if number + 1 in compressed:
            compress(parameters)
        elif number + 1 in dense:
            decompress(parameters)

    plain.check(run, learn)
    assert all(not run.tensors[name][~mask].any() for name, mask in run.masks.items())


def test_a_dense_phase_begins_at_zero_with_no_momentum_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, float, float]] = []
    advance = Training._advance

    def recorded(training: Training) -> float:
        states = training.optimizer.state.values()
        first = sum(float(state["exp_avg"].abs().sum()) for state in states)
        second = sum(float(state["exp_avg_sq"].abs().sum()) for state in states)
        seen.append((training.step, first, second))
        return advance(training)

    monkeypatch.setattr(Training, "_advance", recorded)
    run_chain(chain_of(AcDc(), TENTH), tmp_path / "reset")
    assert [step for step, first, _ in seen if not first] == [0, 2, 4, 6, 9]
    assert all(second for step, _, second in seen if step)
    seen.clear()
    run_chain(chain_of(AcDc(reset=False), TENTH), tmp_path / "kept")
    assert [step for step, first, _ in seen if not first] == [0]


def test_a_compressed_phase_chooses_among_all_weights() -> None:
    # 1, -4 and 3, 2: half of all stay; the tensor decides nothing under `global`
    weights = {"a": torch.tensor([[1.0, -4.0]]), "b": torch.tensor([[3.0, 2.0]])}
    updater = Alternate(to=Target(sparsity=0.5), warmup=0.0)
    view = step_view(weights, weights, at=0, steps=100)
    updater.remask(view, {})
    assert {name: mask.int().tolist() for name, mask in view.net.masks.items()} == {
        "a": [[0, 1]],
        "b": [[1, 0]],
    }
    view.step = 5
    view._states.clear()
    updater.remask(view, {})
    assert all(bool(mask.all()) for mask in view.net.masks.values())
    assert {name: weight.tolist() for name, weight in view.weights.items()} == {"a": [[0, -4]], "b": [[3, 0]]}
    view.step = 7  # within a phase nothing changes
    view.net.masks["a"][0, 0] = False
    updater.remask(view, {})
    assert view.net.masks["a"].int().tolist() == [[0, 1]]


def test_its_cost_is_that_of_each_phase() -> None:
    stages = list(AcDc().plan(TENTH))
    cost = PlanCost(Budget(measure="flops"), stages, Recipe(steps=100), "ac-dc").total([100])
    assert cost == pytest.approx(10 + 7 * 5 * 0.1 + 6 * 5 + 10 + 15 * 0.1)  # dense: 10, 6 phases of 5, 10


def test_groups_and_tensors_meet_the_target_in_the_last_net(tmp_path: Path) -> None:
    _, _, masks = run_chain(chain_of(AcDc(), Target.parse("2:4")), tmp_path / "pattern")
    assert masks["down.weight"][:, :8].reshape(-1, 4).sum(1).tolist() == [2] * 16
    uniform = Target(sparsity=0.5, distribution="uniform")
    _, _, masks = run_chain(chain_of(AcDc(), uniform), tmp_path / "uniform")
    assert all(abs(int(mask.sum()) - mask.numel() / 2) <= 1 for mask in masks.values())


@pytest.mark.parametrize("kind", [AcDc, lambda **options: Alternate(to=TENTH, **options)])
def test_a_schedule_without_room_for_phases_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="together they must leave a share of training"):
        kind(warmup=0.5, last_dense=0.3, last_compressed=0.2)
