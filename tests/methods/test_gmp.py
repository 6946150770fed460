"""Gradual magnitude pruning: the schedule's steps and values, and masks that only shrink."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from smc_eval.errors import UsageError
from smc_eval.methods.gmp import Cubic, Gmp
from smc_eval.methods.movement import Movement
from smc_eval.sparse.allocate import expected
from smc_eval.sparse.net import Net
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain, step_view

STEPS = st.integers(1, 400)


class Still(Toy):
    """No dropout, so that splitting a batch changes nothing but rounding."""

    def model(self) -> nn.Module:
        model = super().model()
        model.drop.p = 0.0
        return model


@pytest.fixture
def worn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """All masks that a net puts on, in order."""
    seen: list[dict[str, Tensor]] = []
    wear = Net.set_masks

    def watched(net: Net, masks: Any) -> dict[str, Tensor]:
        seen.append({name: mask.clone() for name, mask in masks.items()})
        return wear(net, masks)

    monkeypatch.setattr(Net, "wear", watched)
    return seen


def due(updater: Cubic, steps: int) -> dict[int, float]:
    found = {step: updater.due(step, steps) for step in range(steps)}
    return {step: to.sparsity for step, to in found.items() if to}


def test_the_schedule_of_a_hundred_steps_by_hand() -> None:
    updater = Cubic(to=Target(sparsity=0.8), since=0.1, until=0.9, every=20, events=1)
    # shares of the way: 0, 1/4, 1/2, 3/4, 1; what is left to go: 1, 27/64, 1/8, 1/64, 0
    wanted = {10: 0.0, 30: 0.4625, 50: 0.7, 70: 0.7875, 90: 0.8}
    assert due(updater, 100) == pytest.approx(wanted)


def test_the_last_event_is_where_the_schedule_ends_whatever_the_interval() -> None:
    updater = Cubic(to=Target(sparsity=0.9), every=1000, events=4)
    steps = [*due(updater, 6150)]  # SMC-Bench's shortest run, whose last event was at step 4000 of 4920
    assert steps == [615, 1615, 2615, 3615, 4615, 4920]
    assert due(updater, 6150)[4920] == 0.9


def test_a_short_training_is_pruned_as_gradually_as_it_can() -> None:
    assert [*due(Cubic(to=Target(sparsity=0.9)), 12)] == [*range(1, 11)]
    assert len(due(Cubic(to=Target(sparsity=0.9)), 300)) == 22  # every 10 of 210 steps, the first at 0
    assert [*due(Cubic(to=Target(sparsity=0.9)), 1)] == [0]


def test_a_schedule_may_begin_with_a_leap_but_not_above_its_target() -> None:
    updater = Cubic(to=Target(sparsity=0.9), initial=0.5, every=35, events=1)
    assert due(updater, 100) == pytest.approx({10: 0.5, 45: 0.85, 80: 0.9})
    with pytest.raises(ValueError, match=r"sparsity 0.5 at first is more than 0.4 at last"):
        Cubic(to=Target(sparsity=0.4), initial=0.5)
    with pytest.raises(ValueError, match=r"from 0.9 to 0.8 of training goes backward"):
        Cubic(to=Target(sparsity=0.4), since=0.9)


@pytest.mark.parametrize("kind", [Gmp, Movement])
def test_a_schedule_that_goes_backward_is_refused_at_the_door(kind: type[Gmp | Movement]) -> None:
    with pytest.raises(ValueError, match=r"from 0.9 to 0.8 of training goes backward"):
        kind(since=0.9)


def test_the_smallest_of_the_living_go() -> None:
    weights = {"a": torch.tensor([[0.1, -0.9], [0.2, -0.5]]), "b": torch.tensor([[0.3, 0.4]])}
    before = step_view(weights, {}, at=80, steps=100)
    before.net.masks = {"a": torch.tensor([[1, 0], [1, 1]]).bool(), "b": torch.ones(1, 2).bool()}
    Cubic(to=Target(sparsity=0.5)).update(before, {})
    after = {name: mask.int().tolist() for name, mask in before.net.masks.items()}
    assert after == {"a": [[0, 0], [0, 1]], "b": [[1, 1]]}
    assert not before.skipped


@given(
    STEPS, st.floats(0.05, 0.95), st.sampled_from(["global", "uniform", "erk", "lamp"]), st.integers(0, 2**30)
)
def test_masks_shrink_to_the_exact_target_and_stay(
    steps: int, sparsity: float, distribution: Any, seed: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    shapes = {"a": (6, 5), "b": (3, 11), "c": (2, 2)}
    to = Target(sparsity=sparsity, distribution=distribution)
    updater, masks = Cubic(to=to, every=7), dict[str, Tensor]()
    for step in range(steps):
        if updater.due(step, steps) is None:
            continue
        weights = {name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}
        now = step_view(weights, {}, at=step, steps=steps)
        now.net.masks = masks
        before = now.net.alive
        updater.update(now, {})
        assert all(not (mask & ~before[name]).any() for name, mask in now.net.alive.items())
        masks = now.net.masks
    assert sum(int(mask.sum()) for mask in masks.values()) == expected(shapes, to)


def test_patterns_shrink_group_by_group(tmp_path: Path, worn: list[dict[str, Tensor]]) -> None:
    run_chain(chain_of(Gmp(), Target.parse("2:4")), tmp_path)
    alive = [sum(int(mask.sum()) for mask in masks.values()) for masks in worn]
    assert len(alive) == 2 and alive[0] > alive[1]  # 3:4 on the way, then 2:4
    for n, masks in zip((3, 2), worn, strict=True):
        groups = masks["down.weight"][:, :8].reshape(-1, 4).sum(1)  # [8, 10]: two whole groups a row
        assert groups.tolist() == [n] * 16


def test_nothing_comes_back_in_a_whole_run(tmp_path: Path, worn: list[dict[str, Tensor]]) -> None:
    result = run_chain(chain_of(Gmp(), Target(sparsity=0.9)), tmp_path)[0]
    assert result.certificate.ok and result.certificate.regrown == 0
    assert len(worn) == result.certificate.mask_changes == 9
    for before, after in pairwise(worn):
        assert not any((after[name] & ~mask).any() for name, mask in before.items())


def test_events_count_updates_not_the_batches_of_one(tmp_path: Path) -> None:
    masks = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        changes = {"batch_size": batch_size, "accumulation": accumulation, "optimizer": "sgd"}
        task = Still(recipe=Toy().recipe.model_copy(update=changes))
        result, _, last = run_chain(chain_of(Gmp(), Target(sparsity=0.9), task), tmp_path / str(accumulation))
        assert result.certificate.mask_changes == 9
        masks.append(last)
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())


def test_a_recipe_of_no_steps_is_refused_by_name() -> None:
    task = Toy(recipe=Toy().recipe.model_copy(update={"steps": 0}))
    with pytest.raises(UsageError, match="'gmp' makes its masks while it trains, and the recipe has 0 steps"):
        chain_of(Gmp(), Target(sparsity=0.5), task)
