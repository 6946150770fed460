"""Gradual magnitude pruning: steps and values of the schedule, and masks that only shrink."""

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


class NoDropout(Toy):
    """Without dropout, a split batch differs only by rounding."""

    def model(self) -> nn.Module:
        model = super().model()
        model.drop.p = 0.0
        return model


@pytest.fixture
def mask_log(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """All masks that a net gets, in order."""
    log: list[dict[str, Tensor]] = []
    set_masks = Net.set_masks

    def recorded(net: Net, masks: Any) -> dict[str, Tensor]:
        log.append({name: mask.clone() for name, mask in masks.items()})
        return set_masks(net, masks)

    monkeypatch.setattr(Net, "set_masks", recorded)
    return log


def due(updater: Cubic, steps: int) -> dict[int, float]:
    """Sparsity of each event."""
    events = {step: updater.due(step, steps) for step in range(steps)}
    return {step: to.sparsity for step, to in events.items() if to}


def test_a_net_that_is_sparser_than_the_schedule_keeps_its_density() -> None:
    updater = Cubic(to=Target(sparsity=0.8), since=0.1, until=0.9, every=20, events=1)
    assert list(updater.densities(100, 0.3)) == [
        (10, 0.3),
        (30, 0.3),
        (50, pytest.approx(0.3)),
        (70, pytest.approx(0.2125)),
        (90, pytest.approx(0.2)),
    ]


def test_the_schedule_of_a_hundred_steps_is_as_computed_by_hand() -> None:
    updater = Cubic(to=Target(sparsity=0.8), since=0.1, until=0.9, every=20, events=1)
    # progress: 0, 1/4, 1/2, 3/4, 1; remaining share of the sparsity: 1, 27/64, 1/8, 1/64, 0
    wanted = {10: 0.0, 30: 0.4625, 50: 0.7, 70: 0.7875, 90: 0.8}
    assert due(updater, 100) == pytest.approx(wanted)


def test_the_last_event_is_at_the_end_of_the_schedule_for_every_interval() -> None:
    updater = Cubic(to=Target(sparsity=0.9), every=1000, events=4)
    steps = [*due(updater, 6150)]  # SMC-Bench's shortest run, whose last event was at step 4000 of 4920
    assert steps == [615, 1615, 2615, 3615, 4615, 4920]
    assert due(updater, 6150)[4920] == 0.9


def test_a_short_training_has_as_many_events_as_possible() -> None:
    assert [*due(Cubic(to=Target(sparsity=0.9)), 12)] == [*range(1, 11)]
    assert len(due(Cubic(to=Target(sparsity=0.9)), 300)) == 22  # every 10 of 210 steps, the first at 0
    assert [*due(Cubic(to=Target(sparsity=0.9)), 1)] == [0]


def test_the_initial_sparsity_is_at_most_that_of_the_target() -> None:
    updater = Cubic(to=Target(sparsity=0.9), initial=0.5, every=35, events=1)
    assert due(updater, 100) == pytest.approx({10: 0.5, 45: 0.85, 80: 0.9})
    with pytest.raises(ValueError, match=r"initial sparsity 0.5 is above the target sparsity 0.4"):
        Cubic(to=Target(sparsity=0.4), initial=0.5)
    with pytest.raises(ValueError, match=r"from 0.9 to 0.8 of training goes backward"):
        Cubic(to=Target(sparsity=0.4), since=0.9)


@pytest.mark.parametrize("kind", [Gmp, Movement])
def test_a_method_refuses_a_schedule_that_goes_backward(kind: type[Gmp | Movement]) -> None:
    with pytest.raises(ValueError, match=r"from 0.9 to 0.8 of training goes backward"):
        kind(since=0.9)


def test_the_smallest_unpruned_weights_are_pruned() -> None:
    weights = {"a": torch.tensor([[0.1, -0.9], [0.2, -0.5]]), "b": torch.tensor([[0.3, 0.4]])}
    view = step_view(weights, {}, at=80, steps=100)
    view.net.masks = {"a": torch.tensor([[1, 0], [1, 1]]).bool(), "b": torch.ones(1, 2).bool()}
    Cubic(to=Target(sparsity=0.5)).update(view, {})
    after = {name: mask.int().tolist() for name, mask in view.net.masks.items()}
    assert after == {"a": [[0, 0], [0, 1]], "b": [[1, 1]]}
    assert not view.skipped


@given(
    STEPS, st.floats(0.05, 0.95), st.sampled_from(["global", "uniform", "erk", "lamp"]), st.integers(0, 2**30)
)
def test_masks_shrink_to_the_exact_target_and_stay(
    steps: int, sparsity: float, distribution: Any, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (6, 5), "b": (3, 11), "c": (2, 2)}
    to = Target(sparsity=sparsity, distribution=distribution)
    updater, masks = Cubic(to=to, every=7), dict[str, Tensor]()
    for step in range(steps):
        if updater.due(step, steps) is None:
            continue
        weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        view = step_view(weights, {}, at=step, steps=steps)
        view.net.masks = masks
        before = view.net.full_masks
        updater.update(view, {})
        assert all(not (mask & ~before[name]).any() for name, mask in view.net.full_masks.items())
        masks = view.net.masks
    assert sum(int(mask.sum()) for mask in masks.values()) == expected(shapes, to)


def test_patterns_shrink_group_by_group(tmp_path: Path, mask_log: list[dict[str, Tensor]]) -> None:
    run_chain(chain_of(Gmp(), Target.parse("2:4")), tmp_path)
    counts = [sum(int(mask.sum()) for mask in masks.values()) for masks in mask_log]
    assert len(counts) == 2 and counts[0] > counts[1]  # first 3:4, then 2:4
    for n, masks in zip((3, 2), mask_log, strict=True):
        groups = masks["down.weight"][:, :8].reshape(-1, 4).sum(1)  # [8, 10]: two whole groups in each row
        assert groups.tolist() == [n] * 16


def test_no_weight_returns_in_a_whole_run(tmp_path: Path, mask_log: list[dict[str, Tensor]]) -> None:
    record = run_chain(chain_of(Gmp(), Target(sparsity=0.9)), tmp_path)[0]
    assert record.certificate.ok and record.certificate.regrown == 0
    assert len(mask_log) == record.certificate.mask_changes == 9
    for before, after in pairwise(mask_log):
        assert not any((after[name] & ~mask).any() for name, mask in before.items())


def test_events_count_optimizer_steps_and_not_batches(tmp_path: Path) -> None:
    masks = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        changes = {"batch_size": batch_size, "accumulation": accumulation, "optimizer": "sgd"}
        task = NoDropout(recipe=Toy().recipe.model_copy(update=changes))
        record, _, last = run_chain(chain_of(Gmp(), Target(sparsity=0.9), task), tmp_path / str(accumulation))
        assert record.certificate.mask_changes == 9
        masks.append(last)
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())


def test_a_recipe_of_0_steps_is_refused() -> None:
    task = Toy(recipe=Toy().recipe.model_copy(update={"steps": 0}))
    with pytest.raises(UsageError, match="'gmp' makes its masks during training, and the recipe has 0 steps"):
        chain_of(Gmp(), Target(sparsity=0.5), task)
