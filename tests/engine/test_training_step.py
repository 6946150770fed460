"""What an updater may do at a step: set gradients, hold weights, read some gradients, choose masks last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.engine.train import Training
from smc_eval.engine.training_step import TrainingStep
from smc_eval.errors import SparsityError
from smc_eval.experiment.budget import Budget, PlanCost
from smc_eval.method import Method
from smc_eval.methods.omp import Magnitude
from smc_eval.pruner import masks
from smc_eval.recipe import Recipe
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.testing import MethodContract, Toy, chain_of, run_chain, step_view
from smc_eval.updater import StepView, Updater

WEIGHT, GRADIENT = torch.tensor([[1.0, -2.0, 3.0, -4.0]]), torch.tensor([[0.1, 0.2, 0.3, 0.4]])
SOME = torch.tensor([[1, 0, 1, 0]]).bool()


def view(**fields: Any) -> TrainingStep:
    made = step_view({"a": WEIGHT}, {"a": GRADIENT}, at=3, steps=10)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


class Scripted(Updater):
    """Does what a test wants at each step, on a net whose masks come from magnitude."""

    _act: Callable[[StepView], None] | None = None

    def acting(self, act: Callable[[StepView], None]) -> Scripted:
        self._act = act
        return self

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        assert self._act
        self._act(view)
        return state


class SoftScripted(Scripted):
    soft: ClassVar[bool] = True
    straight_through: ClassVar[bool] = False


class Scripting(Method):
    """Prune half by magnitude, then train under the script."""

    card: ClassVar[MethodCard] = MethodCard(name="script", summary="script", source="none", when="during")
    updater: Scripted

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Train(updater=self.updater)


def trained(
    act: Callable[[StepView], None], folder: Path, kind: type[Scripted] = Scripted, **recipe: Any
) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
    """The record, tensors and masks of a training under a script."""
    task = Toy(recipe=Toy().recipe.model_copy(update=recipe))
    return run_chain(chain_of(Scripting(updater=kind().acting(act)), Target(sparsity=0.5), task), folder)


@pytest.fixture
def observed_steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """The gradients that the optimizer saw, and the weights after it, of every step."""
    seen: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    step = Training._step_optimizer

    def recorded(training: Training, *, skipped: bool) -> None:
        grads = {name: gradient.clone() for name, gradient in training.net.gradients.items()}
        step(training, skipped=skipped)
        seen.append((grads, {name: weight.clone() for name, weight in training.net.weights.items()}))

    monkeypatch.setattr(Training, "_step_optimizer", recorded)
    return seen


def ones(view: StepView) -> None:
    view.set_gradients({name: torch.ones_like(weight) for name, weight in view.weights.items()})


def test_the_optimizer_sees_the_gradients_that_were_set(tmp_path: Path, observed_steps: list[Any]) -> None:
    trained(ones, tmp_path, clip=None)
    assert len(observed_steps) == 12
    assert all(bool((gradient == 1).all()) for grads, _ in observed_steps for gradient in grads.values())


def test_sgd_moves_unpruned_weights_by_the_rate_times_what_was_set(
    tmp_path: Path, observed_steps: list[Any]
) -> None:
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 0.5, "schedule": "constant"}
    record, tensors, kept = trained(ones, tmp_path, clip=None, **plain)
    assert record.certificate.ok
    for (_, before), (_, after) in pairwise(observed_steps):
        for name, mask in kept.items():
            torch.testing.assert_close(after[name][mask], before[name][mask] - 0.5)
    assert all(not tensors[name][~mask].any() for name, mask in kept.items())


def test_set_gradients_count_in_the_clipping_norm_but_not_where_weights_are_masked(
    tmp_path: Path, observed_steps: list[Any]
) -> None:
    def large(view: StepView) -> None:
        view.set_gradients({name: torch.full_like(w, 1e6) for name, w in view.weights.items()})

    _, _, kept = trained(large, tmp_path, clip=1.0)
    count = sum(int(mask.sum()) for mask in kept.values())
    for grads, _ in observed_steps:
        for name, mask in kept.items():
            torch.testing.assert_close(grads[name][mask], torch.full((int(mask.sum()),), count**-0.5))
            assert not grads[name][~mask].any()


def test_under_a_soft_updater_the_mask_of_the_pass_leaves_set_gradients_alone(
    tmp_path: Path, observed_steps: list[Any]
) -> None:
    def first_alone(view: StepView) -> None:
        view.set_gradients({"down.weight": torch.ones_like(view.weights["down.weight"])})

    _, _, kept = trained(first_alone, tmp_path, SoftScripted, clip=None)
    for grads, _ in observed_steps:
        assert bool((grads["down.weight"] == 1).all())
        assert all(not grads[name][~mask].any() for name, mask in kept.items() if name != "down.weight")


def test_held_weights_keep_their_bits_under_momentum_and_decay(
    tmp_path: Path, observed_steps: list[Any]
) -> None:
    def hold(view: StepView) -> None:
        if view.step >= 6:
            rows = {name: torch.zeros_like(weight).bool() for name, weight in view.weights.items()}
            for mask in rows.values():
                mask[0] = True
            view.hold(rows)

    record = trained(hold, tmp_path, optimizer="adamw", weight_decay=0.1)[0]
    assert record.certificate.ok
    (_, first), (_, last) = observed_steps[5], observed_steps[-1]
    # the record of a step comes before held weights get their values back, so compare all but its own change
    for name, weight in first.items():
        one_step = observed_steps[6][1][name] - weight
        assert bool((one_step[1:] != 0).any())
        torch.testing.assert_close(last[name][1:], weight[1:], atol=0.03, rtol=0)
    assert all(not torch.equal(last[name][0], weight[0]) for name, weight in first.items())


def test_holding_gives_back_every_bit_of_the_old_values() -> None:
    net, special = view().net, torch.tensor([[-0.0, 5.0, float("inf"), 1e-40]])
    with torch.no_grad():
        net.parameters["a"].copy_(special)
    with net.holding({"a": torch.tensor([[0, 1, 0, 0]]).bool()}):
        net.parameters["a"].data.copy_(torch.tensor([[7.0, -7.0, float("nan"), -0.0]]))
    wanted = torch.tensor([[-0.0, -7.0, float("inf"), 1e-40]])
    assert torch.equal(net.weights["a"].view(torch.int32), wanted.view(torch.int32))


def test_some_gradients_are_copies_and_zero_elsewhere() -> None:
    made = view()
    within = made.gradients_within({"a": SOME})
    torch.testing.assert_close(within["a"], torch.tensor([[0.1, 0.0, 0.3, 0.0]]))
    within["a"].fill_(9)
    assert torch.equal(made.grads["a"], GRADIENT)


def test_the_share_of_read_gradients_has_the_unpruned_weights_too() -> None:
    made = view(forward_masks={"a": torch.tensor([[0, 0, 0, 1]]).bool()})
    made.gradients_within({"a": SOME})
    assert made.read_shares == {"a": 3 / 4} and not made.read
    assert view(forward_masks={}).gradients_within({"a": SOME}) and not view().read_shares


WRONG: dict[str, Any] = {
    "a name out of scope": {"b": GRADIENT},
    "another shape": {"a": GRADIENT.T},
    "another type": {"a": GRADIENT.double()},
    "a value that is infinite": {"a": GRADIENT / 0},
    "a value that is NaN": {"a": torch.tensor([[0.0, float("nan"), 0, 0]])},
    "no tensor": {"a": [1.0, 2.0, 3.0, 4.0]},
    "no mapping": [GRADIENT],
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_gradients_are_refused(kind: str) -> None:
    made = view(by="wrong-updater")
    with pytest.raises(SparsityError, match="wrong-updater gave"):
        made.set_gradients(WRONG[kind])
    assert not made.given


@pytest.mark.parametrize("verb", ["hold", "gradients_within"])
def test_masks_of_another_shape_or_type_are_refused(verb: str) -> None:
    for wrong in ({"b": SOME}, {"a": SOME.T}, {"a": SOME.float()}):
        with pytest.raises(SparsityError, match=verb):
            getattr(view(), verb)(wrong)


class ProjectsLast(Updater):
    """The masks of each pass fit its weights: magnitude, chosen between the steps."""

    soft: ClassVar[bool] = True
    to: Target

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        magnitude = {name: weight.abs() for name, weight in view.weights.items()}
        view.set_masks(masks(magnitude, self.to, shards=view.shards))
        return state

    def densities(self, steps: int, density: float) -> list[tuple[int, float]]:
        return [(-1, self.to.density)]


class Projecting(Method):
    card: ClassVar[MethodCard] = MethodCard(name="last", summary="last", source="none", when="during")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=ProjectsLast(to=target))


class TestAnUpdaterThatChoosesMasksBetweenSteps(MethodContract):
    method = Projecting()


def test_the_masks_of_a_pass_fit_its_weights_from_the_first_pass_to_the_last_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    advance = Training._advance

    def recorded(training: Training) -> float:
        passes.append((dict(training.net.weights), dict(training.net.full_masks)))
        passes[-1] = tuple({n: t.clone() for n, t in part.items()} for part in passes[-1])  # type: ignore[assignment]
        return advance(training)

    monkeypatch.setattr(Training, "_advance", recorded)
    target = Target(sparsity=0.7)
    record, tensors, kept = run_chain(chain_of(Projecting(), target), tmp_path)
    assert record.certificate.ok and len(passes) == 12
    for weights, used in passes:
        fitting = masks({name: weight.abs() for name, weight in weights.items()}, target)
        assert all(torch.equal(fitting[name], mask) for name, mask in used.items())
    # nothing outside the last masks is larger than the smallest weight within; all of it is zero in the net
    assert all(not tensors[name][~mask].any() for name, mask in kept.items())
    changed = sum(not torch.equal(passes[-1][1][name], mask) for name, mask in kept.items())
    assert changed  # the optimizer's last step moved weights, and the masks followed


@pytest.mark.parametrize("verb", ["grads", "skip", "set_gradients", "hold", "gradients_within"])
def test_between_steps_there_are_no_gradients_and_no_step(verb: str) -> None:
    made = view(between=True)
    asks = {"grads": lambda: made.grads, "skip": made.skip}
    with pytest.raises(SparsityError, match="in remask, between two steps"):
        asks.get(verb, lambda: getattr(made, verb)({}))()


class ReadsMore(SoftScripted):
    """Reads the gradients of three quarters of each weight."""

    def densities(self, steps: int, density: float) -> tuple[tuple[int, float], ...]:
        return ()

    def dense_gradient_steps(self, steps: int) -> tuple[int, ...]:
        return ()

    def gradient_density(self, density: float) -> float:
        return 0.5 * (density + 1)


def test_reading_some_gradients_costs_their_share_and_the_plan_says_the_same(tmp_path: Path) -> None:
    def read(view: StepView) -> None:
        wider = {}
        for name, mask in view.masks.items():
            pruned = (~mask).view(-1).nonzero()[:, 0]
            wide = mask.clone().view(-1)
            wide[pruned[: len(pruned) // 2]] = True
            wider[name] = wide.view_as(mask)
        view.set_gradients(view.gradients_within(wider))

    spent = {}
    for act in (read, lambda view: view.grads, lambda view: None):
        record = trained(act, tmp_path / str(len(spent)), ReadsMore)[0]  # type: ignore[arg-type]
        spent[len(spent)] = record.cost.flops.train.sparse
    some, all_, none = spent.values()
    assert none < some < all_
    assert some - none == pytest.approx((all_ - none) / 2, rel=0.02)  # odd counts are rounded

    stages = [Prune(by=Magnitude(), to=Target(sparsity=0.5)), Train(updater=ReadsMore())]
    cost = PlanCost(Budget(measure="flops"), stages, Recipe(steps=12), "script").total([0, 12])
    assert cost == pytest.approx(12 * (2 * 0.5 + 0.75) / 3)


def test_a_weight_without_a_gradient_gets_the_one_that_was_set() -> None:
    made = view()
    made.net.parameters["a"].grad = None
    made.set_gradients({"a": GRADIENT})
    made.write_gradients()
    given = made.net.parameters["a"].grad
    assert given is not GRADIENT and torch.equal(given, GRADIENT)


def test_a_frozen_weight_gets_no_gradient() -> None:
    made = view()
    made.net.parameters["a"].grad = None
    made.net.parameters["a"].requires_grad_(False)
    made.set_gradients({"a": GRADIENT})
    made.write_gradients()
    assert made.net.parameters["a"].grad is None


def test_the_state_of_an_updater_may_be_what_it_sets(tmp_path: Path) -> None:
    """The optimizer clips in place: it must not write into the tensors that the updater gave."""
    kept: dict[str, Tensor] = {}

    def same(view: StepView) -> None:
        for name, weight in view.weights.items():
            kept.setdefault(name, torch.full_like(weight, 1e3))
        view.set_gradients(kept)

    trained(same, tmp_path, clip=1.0)
    assert all(bool((values == 1e3).all()) for values in kept.values())


class DecaysBehind(ProjectsLast):
    """Learns in the larger half of each weight, decays what is masked there, and holds the rest."""

    straight_through: ClassVar[bool] = False

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        size = {name: weight.abs() for name, weight in view.weights.items()}
        half = masks(size, Target(sparsity=min(0.5, self.to.sparsity)), shards=view.shards)
        wider = {name: mask | half[name] for name, mask in view.masks.items()}
        decay = {
            name: 0.1 * weight * (wider[name] & ~mask)
            for (name, weight), mask in zip(view.weights.items(), view.masks.values(), strict=True)
        }
        within = view.gradients_within(wider)
        view.set_gradients({name: gradient + decay[name] for name, gradient in within.items()})
        view.hold(wider)
        return state

    def dense_gradient_steps(self, steps: int) -> tuple[int, ...]:
        return ()

    def gradient_density(self, density: float) -> float:
        return max(0.5, density) + 0.02


class Decaying(Method):
    card: ClassVar[MethodCard] = MethodCard(
        name="decaying", summary="decay", source="none", when="during", patterns=("free",)
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=DecaysBehind(to=target))


class TestAnUpdaterThatSetsGradientsAndHoldsWeights(MethodContract):
    method = Decaying()
