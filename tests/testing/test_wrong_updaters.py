"""The contract of methods fails for updaters that break it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.errors import SparsityError
from smc_eval.method import Method
from smc_eval.pruner import masks
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.testing import MethodContract
from smc_eval.updater import StepView, Updater

ContractOf = Callable[[Method], MethodContract]


class HalfTime(Updater):
    """A correct updater: it prunes by magnitude after half of the steps, and reads no gradient."""

    to: Target

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == view.steps // 2:
            self.change(view)
        return state

    def change(self, view: StepView) -> None:
        saliency = {name: weight.abs() for name, weight in view.weights.items()}
        view.set_masks(masks(saliency, self.to, within=view.masks, shards=view.shards))

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return [(steps // 2, self.to.density)]

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        return ()


class WrongDensities(HalfTime):
    """Announces the right density at the wrong step."""

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return [(steps // 2 + 1, self.to.density)]


class MissingLastDensity(HalfTime):
    """Prunes at the last step, and announces nothing."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == view.steps - 1:
            self.change(view)
        return state

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return []


class UnsortedDensities(HalfTime):
    """Announces its changes in falling order."""

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return [(steps // 2, self.to.density), (0, density)]


class SecretReader(HalfTime):
    """Reads gradients at each step, and announces none."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        assert view.grads
        return super().update(view, state)


class SecretReaderOfUnknownDensity(SecretReader):
    """The same, with unknown densities."""

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return None


class ReadsWider(HalfTime):
    """Reads the gradients of all weights, and announces those of unpruned ones."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        view.gradients_within({name: mask | True for name, mask in view.masks.items()})
        return super().update(view, state)


class LearnsBehindMasks(HalfTime):
    """Pruned weights learn at each step, and it announces none."""

    soft: ClassVar[bool] = True


class GivesNaN(HalfTime):
    """Sets gradients that are no numbers."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        view.set_gradients({name: weight * float("nan") for name, weight in view.weights.items()})
        return super().update(view, state)


class GivesRows(HalfTime):
    """Sets gradients of another shape."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        view.set_gradients({name: weight[:1] for name, weight in view.weights.items()})
        return super().update(view, state)


class WritesGradients(HalfTime):
    """Writes into the gradients of its view instead of setting others."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        for gradient in view.grads.values():
            gradient.mul_(2)
        return super().update(view, state)


class SetsBetweenSteps(HalfTime):
    """Sets gradients where there are none."""

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        view.set_gradients(view.weights)
        return state


class WrongFirstDensity(HalfTime):
    """Prunes before the first step, and announces nothing."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == 0:
            self.change(view)
        return state

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return []


class ForgetfulBetweenSteps(HalfTime):
    """Counts the changes between its steps outside of its state."""

    count: ClassVar[list[int]] = [0]

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.count[0] = 0
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        self.count[0] += 1
        if self.count[0] == 7:
            self.change(view)
        return state


class GrowsToOne(HalfTime):
    """Lets each tensor exchange a weight at the end, and writes a one into the regrown weight."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        super().update(view, state)
        if view.step == view.steps - 1:
            changed = {name: mask.clone() for name, mask in view.masks.items()}
            for mask in changed.values():
                flat = mask.view(-1)
                unpruned, pruned = flat.nonzero()[0], (~flat).nonzero()[0]
                flat[unpruned], flat[pruned] = False, True
            before = view.masks
            view.set_masks(changed)
            for name, weight in view.weights.items():
                weight[changed[name] & ~before[name]] = 1.0
        return state


class Forgetful(HalfTime):
    """Counts its steps outside of its state, so that a checkpoint does not have them."""

    count: ClassVar[list[int]] = [0]

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.count[0] = 0
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        self.count[0] += 1
        if self.count[0] == 7:
            self.change(view)
        return state


class Updating(Method):
    """Trains under one of the updaters."""

    card: ClassVar[MethodCard] = MethodCard(name="wrong", summary="wrong", source="none", when="during")
    updater: HalfTime = HalfTime(to=Target())

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=self.updater.model_copy(update={"to": target}))


def test_a_correct_updater_passes(contract_of: ContractOf, tmp_path: Path) -> None:
    contract = contract_of(Updating())
    contract.test_its_updaters_announce_their_densities_and_gradient_steps(tmp_path / "1")
    contract.test_regrown_weights_start_at_zero(tmp_path / "2")
    contract.test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path / "3")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (WrongDensities, "approx"),
        (MissingLastDensity, "approx"),
        (UnsortedDensities, "not announced by rising step"),
        (SecretReader, "that dense_gradient_steps omits"),
        (SecretReaderOfUnknownDensity, "that dense_gradient_steps omits"),
        (ReadsWider, "more gradients than gradient_density says"),
        (LearnsBehindMasks, "pruned weights learn at steps that it omits"),
        (WrongFirstDensity, "approx"),
    ],
)
def test_wrong_densities_or_gradient_steps_fail(
    contract_of: ContractOf, tmp_path: Path, kind: type[HalfTime], message: str
) -> None:
    contract = contract_of(Updating(updater=kind(to=Target())))
    with pytest.raises(AssertionError, match=message):
        contract.test_its_updaters_announce_their_densities_and_gradient_steps(tmp_path)


def test_values_written_into_regrown_weights_fail(contract_of: ContractOf, tmp_path: Path) -> None:
    contract = contract_of(Updating(updater=GrowsToOne(to=Target())))
    with pytest.raises(SparsityError, match="wrote into .* of its view's weights"):
        contract.test_regrown_weights_start_at_zero(tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (GivesNaN, "gave 'encoder.weight_ih_l0' gradients that are not finite"),
        (GivesRows, r"gave gradients of 'encoder.weight_ih_l0' as torch.float32 \(1, 8\).*; wanted .*30, 8"),
        (WritesGradients, "wrote into 'encoder.weight_ih_l0' of its view's grads"),
        (SetsBetweenSteps, "asks for gradients in remask, between two steps; use update"),
    ],
)
def test_wrong_gradients_fail_the_cell(
    contract_of: ContractOf, tmp_path: Path, kind: type[HalfTime], message: str
) -> None:
    contract = contract_of(Updating(updater=kind(to=Target())))
    with pytest.raises(SparsityError, match=f"{kind.__name__}.*{message}"):
        contract.test_the_target_is_met_exactly(tmp_path)


@pytest.mark.parametrize("kind", [Forgetful, ForgetfulBetweenSteps])
def test_an_updater_that_stores_a_state_outside_of_the_checkpoint_fails(
    contract_of: ContractOf, tmp_path: Path, kind: type[HalfTime]
) -> None:
    contract = contract_of(Updating(updater=kind(to=Target())))
    with pytest.raises(AssertionError):
        contract.test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path)
