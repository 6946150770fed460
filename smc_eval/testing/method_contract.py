"""The contract of methods: tests that every method must pass, built-in or from a plugin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from smc_eval.errors import UsageError
from smc_eval.experiment.cell import Chain
from smc_eval.method import Method
from smc_eval.spec import digest
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Scope, Target
from smc_eval.task import Task
from smc_eval.testing.cell_runs import (
    Interrupting,
    Interruption,
    assert_equal,
    chain_of,
    check_measurements,
    nets_of_chain,
    run_chain,
    targets_for,
    without_time,
)
from smc_eval.testing.observed import ObservedMethod, density_after_each_step
from smc_eval.testing.toy import PrunedToy, Toy, UnitToy


class MethodContract:
    """Tests that every method must pass. Subclass it in a test module, and set `method`."""

    method: Method

    def toy(self, **fields: Any) -> Task:
        """The task that it runs on: for custom masks, the toy with a pruned net."""
        return PrunedToy(**fields) if self.method.card.when == "custom" else Toy(**fields)

    def chain(self, target: Target, seed: int = 0, **fields: Any) -> Chain:
        """Its chain to a target, on the toy."""
        return chain_of(self.method, target, self._task(target, **fields), seed)

    def _task(self, target: Target, **fields: Any) -> Task:
        """The toy, or where heads or neurons are pruned a toy that has some."""
        return UnitToy(**fields) if target.is_structured else self.toy(**fields)

    def test_its_plan_is_the_same_each_time(self) -> None:
        for target in targets_for(self.method):
            first, second = ([digest(stage) for stage in self.method.plan(target)] for _ in range(2))
            assert first == second

    def test_it_refuses_patterns_that_its_card_does_not_name(self) -> None:
        words = {"free": "0.5", "n:m": "2:4", "heads": "heads:0.5", "neurons": "neurons:0.5"}
        for pattern in words.keys() - set(self.method.card.patterns):
            with pytest.raises(UsageError, match=re.escape(self.method.card.name)):
                self.method.accept(Target.parse(words[pattern]))

    def test_it_refuses_scopes_that_its_card_does_not_name(self) -> None:
        scopes = self.method.card.scopes
        for scope in set(get_args(Scope)) - set(scopes or get_args(Scope)):
            with pytest.raises(UsageError, match=re.escape(self.method.card.name)):
                self.method.accept(Target(scope=scope))

    def test_the_target_is_met_exactly(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            record, _, masks = run_chain(self.chain(target), tmp_path)
            certificate = record.certificate
            assert certificate is not None and certificate.ok, certificate
            assert bool(masks) == (self.method.card.when != "none")
            dead = {name for name, mask in masks.items() if not mask.any()}
            assert set(certificate.dead_tensors) == dead
            remaining = sum(int(mask.sum()) for mask in masks.values())
            assert not masks or remaining == certificate.expected
            check_measurements(record)

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
    def test_pruned_weights_stay_zero_under_every_optimizer(self, tmp_path: Path, optimizer: str) -> None:
        recipe = Toy().recipe.model_copy(update={"optimizer": optimizer, "lr": 0.1, "clip": 1.0})
        for target in targets_for(self.method):
            _, tensors, masks = run_chain(self.chain(target, recipe=recipe), tmp_path)
            for name, mask in masks.items():
                assert not tensors[name][~mask].any(), name

    def test_regrown_weights_start_at_zero(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            observed = ObservedMethod(method=self.method)
            run_chain(chain_of(observed, target, self._task(target)), tmp_path / "observed")
            for log in observed.logs:
                assert not log.nonzero_growth, "regrown weights of these tensors do not start at zero"
            chain = self.chain(target)
            nets = nets_of_chain(chain, tmp_path / "stages")[1]
            for (_, before), (tensors, after), link in zip(nets, nets[1:], chain.links[1:], strict=False):
                for name, mask in after.items() if isinstance(link.stage, Prune) else ():
                    assert not tensors[name][mask & ~before.get(name, mask)].any(), name

    def test_pruned_weights_stay_pruned_unless_a_stage_may_revive_them(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            chain = self.chain(target)
            record, nets = nets_of_chain(chain, tmp_path)
            assert record.certificate is not None
            assert record.certificate.regrown == 0 or any(may_revive(link.stage) for link in chain.links)
            for (_, before), (_, after), link in zip(nets, nets[1:], chain.links[1:], strict=False):
                if not may_revive(link.stage):
                    assert all(not (after[name] & ~mask).any() for name, mask in before.items()), link.stage

    def test_tied_weights_share_one_mask(self, tmp_path: Path) -> None:
        scopes = self.method.card.scopes
        scope: Scope = "all-2d" if scopes is None or "all-2d" in scopes else "body"
        for target in targets_for(self.method, scope):
            _, tensors, masks = run_chain(self.chain(target), tmp_path)
            assert "words.weight" in tensors and "out.weight" not in tensors
            in_scope = scope == "all-2d" and not target.is_structured
            assert not masks or ("words.weight" in masks) == in_scope
            assert "out.weight" not in masks

    def test_two_runs_are_equal_bit_for_bit(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            chain = self.chain(target)
            first, second = run_chain(chain, tmp_path / "first"), run_chain(chain, tmp_path / "second")
            assert without_time(first[0]) == without_time(second[0])
            assert_equal(first[1:], second[1:])

    def test_an_interrupted_run_ends_like_an_uninterrupted_one(self, tmp_path: Path) -> None:
        chain = self.chain(targets_for(self.method)[0])
        whole = run_chain(chain, tmp_path / "whole")
        for after in (1, 7, 12, 13, 20, 33):
            folder = tmp_path / f"interrupted after {after}"
            try:
                run_chain(chain, folder, Interrupting(after), checkpoint_seconds=-1.0)
            except Interruption:
                resumed = run_chain(chain, folder)
                assert without_time(resumed[0]) == without_time(whole[0])
                assert_equal(resumed[1:], whole[1:])

    def test_its_updaters_announce_their_densities_and_gradient_steps(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            observed = ObservedMethod(method=self.method)
            run_chain(chain_of(observed, target, self._task(target)), tmp_path)
            for log in observed.logs:
                steps = len(log.densities)
                if log.updater.soft and log.updater.straight_through:
                    dense = list(log.updater.dense_gradient_steps(steps))
                    assert dense == list(range(steps)), "pruned weights learn at steps that it omits"
                unannounced = set(log.gradient_steps) - set(log.updater.dense_gradient_steps(steps))
                assert not unannounced, "it reads gradients at steps that dense_gradient_steps omits"
                for density, read in log.wider_gradients:
                    most = log.updater.gradient_density(density) + 0.5 / log.size + 1e-9
                    assert read <= most, "it reads more gradients than gradient_density says"
                announced = log.updater.densities(steps, log.first_density)
                if announced is None:
                    continue
                changes = list(announced)
                order = [step for step, _ in changes]
                assert order == sorted(set(order)), "densities are not announced by rising step"
                wanted = density_after_each_step(log.first_density, steps, dict(changes))
                # a count is rounded; a row whose length is no multiple of M keeps a little more than N of M
                tolerance = 0.5 / log.size + 1e-9 if target.pattern == "free" else 0.05
                assert log.densities == pytest.approx(wanted, abs=tolerance)

    def test_seeds_give_different_nets(self, tmp_path: Path) -> None:
        target = targets_for(self.method)[0]
        first, second = (run_chain(self.chain(target, seed=seed), tmp_path)[1] for seed in (0, 1))
        assert any(not torch.equal(first[name], second[name]) for name in first)

    def test_the_plan_prunes_unless_it_is_the_dense_one(self) -> None:
        stages = list(self.method.plan(targets_for(self.method)[0]))
        prunes = any(
            isinstance(stage, Prune) or (isinstance(stage, Train) and stage.updater is not None)
            for stage in stages
        )
        assert prunes == (self.method.card.when != "none")


def may_revive(stage: Stage) -> bool:
    """Whether a stage may unprune weights."""
    match stage:
        case Train(updater=updater):
            return updater is not None
        case Prune(by=by):
            return by.revives
    return False
