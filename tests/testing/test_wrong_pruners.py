"""The contract of methods fails for pruners and plans that break it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.errors import SparsityError
from smc_eval.method import Method
from smc_eval.methods.omp import Magnitude
from smc_eval.pruner import Criterion, Probe, Pruner, masks
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.testing import MethodContract

ContractOf = Callable[[Method], MethodContract]
COUNTER = itertools.count(1)


class Reviver(Pruner):
    """Unprunes other weights, with values: it writes into the masks and weights of the probe."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        with torch.no_grad():
            for mask, weight in zip(probe.masks.values(), probe.weights.values(), strict=True):
                weight[~mask] = 10.0
                mask.fill_(True)
        return masks({name: weight.abs() for name, weight in probe.weights.items()}, target)


class UnannouncedReviver(Pruner):
    """Unprunes weights, which are zero then, without `revives = True`."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        return masks({name: torch.zeros_like(weight) for name, weight in probe.weights.items()}, target)


class Unseeded(Criterion):
    """Random numbers from a generator of its own."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(next(COUNTER))
        return {name: torch.rand(weight.shape, generator=generator) for name, weight in probe.weights.items()}


class TooDense(Criterion):
    """Keeps one weight more in each tensor."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        made = super().prune(probe, target)
        for mask in made.values():
            mask.view(-1)[(~mask.view(-1)).nonzero()[0]] = True
        return made

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        return {name: weight.abs() for name, weight in probe.weights.items()}


class Pruning(Method):
    """Prunes by magnitude, then again by another pruner."""

    card: ClassVar[MethodCard] = MethodCard(name="wrong", summary="wrong", source="none", when="before")
    by: Pruner = Magnitude()

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Prune(by=self.by, to=target)
        yield Train()


class Changing(Pruning):
    """Its plan differs each time."""

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(length=float(next(COUNTER)))


class Unpruned(Pruning):
    """Its card promises masks, and its plan makes none."""

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()


class AcceptsAll(Pruning):
    """Accepts targets that its card excludes."""

    card: ClassVar[MethodCard] = Pruning.card.model_copy(update={"patterns": ("free",), "scopes": ("body",)})

    def accept(self, target: Target) -> None:
        pass


def test_a_correct_pruner_passes(contract_of: ContractOf, tmp_path: Path) -> None:
    contract = contract_of(Pruning())
    contract.test_regrown_weights_start_at_zero(tmp_path / "1")
    contract.test_pruned_weights_stay_pruned_unless_a_stage_may_revive_them(tmp_path / "2")
    contract.test_two_runs_are_equal_bit_for_bit(tmp_path / "3")
    contract.test_the_target_is_met_exactly(tmp_path / "4")
    contract.test_its_plan_is_the_same_each_time()
    contract.test_the_plan_prunes_unless_it_is_the_dense_one()


def test_a_pruner_that_revives_weights_with_values_fails(contract_of: ContractOf, tmp_path: Path) -> None:
    contract = contract_of(Pruning(by=Reviver()))
    with pytest.raises(SparsityError, match="wrote into .* of probe.weights"):
        contract.test_regrown_weights_start_at_zero(tmp_path / "1")
    with pytest.raises(SparsityError, match="Reviver wrote into .* of probe.weights"):
        contract.test_pruned_weights_stay_pruned_unless_a_stage_may_revive_them(tmp_path / "2")


def test_a_pruner_that_does_not_announce_that_it_revives_fails(
    contract_of: ContractOf, tmp_path: Path
) -> None:
    contract = contract_of(Pruning(by=UnannouncedReviver()))
    contract.test_regrown_weights_start_at_zero(tmp_path / "1")
    with pytest.raises(AssertionError):
        contract.test_pruned_weights_stay_pruned_unless_a_stage_may_revive_them(tmp_path / "2")


def test_a_pruner_with_random_numbers_of_its_own_fails(contract_of: ContractOf, tmp_path: Path) -> None:
    class OneStep(Pruning):
        def plan(self, target: Target) -> Iterator[Stage]:
            yield Prune(by=Unseeded(), to=target)

    with pytest.raises(AssertionError):
        contract_of(OneStep()).test_two_runs_are_equal_bit_for_bit(tmp_path)


def test_a_pruner_that_misses_the_target_fails(contract_of: ContractOf, tmp_path: Path) -> None:
    with pytest.raises(SparsityError, match="TooDense"):
        contract_of(Pruning(by=TooDense())).test_the_target_is_met_exactly(tmp_path)


def test_a_plan_that_differs_each_time_fails(contract_of: ContractOf) -> None:
    with pytest.raises(AssertionError):
        contract_of(Changing()).test_its_plan_is_the_same_each_time()


def test_a_plan_without_the_masks_that_the_card_promises_fails(contract_of: ContractOf) -> None:
    with pytest.raises(AssertionError):
        contract_of(Unpruned()).test_the_plan_prunes_unless_it_is_the_dense_one()


def test_a_method_that_accepts_targets_outside_its_card_fails(contract_of: ContractOf) -> None:
    contract = contract_of(AcceptsAll())
    with pytest.raises(pytest.fail.Exception):
        contract.test_it_refuses_patterns_that_its_card_does_not_name()
    with pytest.raises(pytest.fail.Exception):
        contract.test_it_refuses_scopes_that_its_card_does_not_name()
