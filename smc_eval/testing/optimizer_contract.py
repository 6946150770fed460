"""The contract of optimizers: promises that every optimizer must keep, built-in or from a plugin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smc_eval.card import MethodCard
from smc_eval.engine.optimizer_state import odd_state
from smc_eval.errors import UsageError
from smc_eval.method import Method
from smc_eval.optimizer import Optimizer
from smc_eval.pruner import masks
from smc_eval.recipe import Recipe
from smc_eval.spec import digest
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.testing.cell_runs import (
    Interrupting,
    Interruption,
    assert_equal,
    chain_of,
    run_chain,
    without_time,
)
from smc_eval.testing.observed import ObservedMethod
from smc_eval.testing.promise import refusal
from smc_eval.testing.toy import Toy
from smc_eval.updater import StepView, Updater


class Alternating(Updater):
    """Keeps the first weights of each tensor at even steps, and the last ones at odd steps."""

    to: Target

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        sign = 1 if view.step % 2 else -1
        order = {
            name: sign * torch.arange(float(weight.numel())).view_as(weight)
            for name, weight in view.weights.items()
        }
        view.set_masks(masks(order, self.to))
        return state


class Turning(Method):
    """Trains under `Alternating`, so that weights grow back at every step."""

    card: ClassVar[MethodCard] = MethodCard(
        name="turning", summary="weights go and come back at every step", source="none", when="during"
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=Alternating(to=target))


class Fixed(Method):
    """Prunes at the first step of its training, and trains on."""

    card: ClassVar[MethodCard] = MethodCard(
        name="fixed", summary="pruned once, at the first step", source="none", when="during"
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=Once(to=target))


class Once(Updater):
    """Prunes the first weights of each tensor at the first step."""

    to: Target

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == 0:
            order = {n: torch.arange(float(w.numel())).view_as(w) for n, w in view.weights.items()}
            view.set_masks(masks(order, self.to))
        return state


class Watched(Toy):
    """The toy, with a log of the weights at each forward pass in training."""

    seen: ClassVar[list[dict[str, Tensor]]] = []

    def model(self) -> nn.Module:
        def log(net: nn.Module, _inputs: Any) -> None:
            if net.training:
                self.seen.append({n: weight.detach().clone() for n, weight in net.named_parameters()})

        model = super().model()
        model.register_forward_pre_hook(log)
        return model


class OptimizerContract:
    """Promises that every optimizer must keep. Subclass it in a test module, and set `optimizer`."""

    optimizer: Optimizer
    rate: ClassVar[float] = 0.05
    """A learning rate at which the toy learns."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of the toy with this optimizer."""
        changes = {"optimizer": self.optimizer, "lr": self.rate, "clip": 1.0}
        return Recipe.model_validate({**dict(Toy().recipe), **changes})

    def test_it_steps_and_continues_from_what_was_saved(self) -> None:
        odd_state(self.optimizer, self.recipe)

    def test_it_trains_the_toy(self, tmp_path: Path) -> None:
        chain = chain_of(Fixed(), Target(sparsity=0.3), Toy(recipe=self.recipe))
        record, tensors, masks = run_chain(chain, tmp_path)
        assert record.certificate is not None and record.certificate.ok, record.certificate
        assert record.certificate.moved.scope_remaining, "no unpruned weight moved"
        for name, mask in masks.items():
            assert not tensors[name][~mask].any(), f"pruned weights of {name} are not zero"

    def test_weights_that_grow_back_start_at_zero_or_it_is_refused(self, tmp_path: Path) -> None:
        observed = ObservedMethod(method=Turning())
        chain = chain_of(observed, Target(sparsity=0.5), Toy(recipe=self.recipe))
        if odd_state(self.optimizer, self.recipe):
            otherwise = (
                "what it keeps cannot be cleared, and a method that lets weights grow back is accepted"
            )
            with refusal(UsageError, self.optimizer.card.name, otherwise):
                run_chain(chain, tmp_path)
            return
        record, tensors, masks = run_chain(chain, tmp_path)
        assert record.certificate is not None and record.certificate.regrown > 0
        for log in observed.logs:
            grown = log.nonzero_growth
            assert not grown, f"regrown weights of {grown[0]!r} do not start at zero"
        for name, mask in masks.items():
            assert not tensors[name][~mask].any(), f"pruned weights of {name!r} are not zero"

    def test_pruned_weights_are_zero_in_every_pass(self, tmp_path: Path) -> None:
        Watched.seen.clear()
        chain = chain_of(Fixed(), Target(sparsity=0.5), Watched(recipe=self.recipe))
        _, _, masks = run_chain(chain, tmp_path)
        passes = 1 + self.optimizer.further_passes
        assert len(Watched.seen) == passes * self.recipe.total(chain.examples), (
            f"the net ran {len(Watched.seen)} times; its card says {passes} passes in each step"
        )
        for weights in Watched.seen[passes:]:
            for name, mask in masks.items():
                assert not weights[name][~mask].any(), f"a pass saw values in pruned weights of {name}"
        Watched.seen.clear()

    def test_its_passes_are_counted(self, tmp_path: Path) -> None:
        plain = self.recipe.model_copy(update={"optimizer": "sgd"})
        costs = []
        for number, recipe in enumerate((self.recipe, plain)):
            chain = chain_of(Fixed(), Target(sparsity=0.5), Toy(recipe=recipe))
            cost = run_chain(chain, tmp_path / str(number))[0].cost
            assert cost is not None
            costs.append(cost)
        own, usual = costs
        passes = 1 + self.optimizer.further_passes
        spent, wanted = own.flops.train.dense, passes * usual.flops.train.dense
        assert math.isclose(spent, wanted, rel_tol=0.02), (
            f"it takes {spent:,} FLOPs; {passes} passes in each step take {wanted:,}"
        )
        passed, steps = own.perturbed_passes, own.steps
        assert passed == self.optimizer.further_passes * steps, (
            f"{passed} further passes are counted in {steps} steps; its class says {passes - 1} in each"
        )

    def test_two_runs_are_equal_bit_for_bit(self, tmp_path: Path) -> None:
        chain = chain_of(Fixed(), Target(sparsity=0.5), Toy(recipe=self.recipe))
        first, second = (run_chain(chain, tmp_path / name) for name in ("first", "second"))
        assert_equal(first[1:], second[1:])
        assert without_time(first[0]) == without_time(second[0]), "two runs have other records"

    def test_an_interrupted_run_ends_like_an_uninterrupted_one(self, tmp_path: Path) -> None:
        chain = chain_of(Fixed(), Target(sparsity=0.5), Toy(recipe=self.recipe))
        whole = run_chain(chain, tmp_path / "whole")
        for after in (1, 5, 11):
            folder = tmp_path / f"interrupted after {after}"
            with refusal(Interruption, "", f"a run has no step {after} at which it could be interrupted"):
                run_chain(chain, folder, Interrupting(after), checkpoint_seconds=-1.0)
            resumed = run_chain(chain, folder)
            otherwise = f"interrupted after {after} steps, it ends otherwise"
            assert_equal(resumed[1:], whole[1:], otherwise)
            assert without_time(resumed[0]) == without_time(whole[0]), f"{otherwise}: in its record"

    def test_its_name_and_options_are_part_of_the_digest(self) -> None:
        others = ("sgd", "adam", type(self.optimizer)())
        changed = [Recipe.model_validate({**dict(self.recipe), "optimizer": other}) for other in others]
        for recipe in changed:
            same, equal = recipe.optimizer == self.recipe.optimizer, digest(recipe) == digest(self.recipe)
            assert equal == same, (
                f"optimizers {recipe.recorded.optimizer!r} and {self.recipe.recorded.optimizer!r} have "
                f"{'one digest' if equal else 'two digests'}"
            )
