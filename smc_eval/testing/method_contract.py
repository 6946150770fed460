"""The contract of methods: what every method must keep, ours and those of plugins."""

from __future__ import annotations

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
from smc_eval.testing.spied import Spied, steady
from smc_eval.testing.toy import PrunedToy, Toy


class MethodContract:
    """What every method must keep. Subclass it in a test module and name the method."""

    method: Method

    def toy(self, **fields: Any) -> Task:
        """The task it runs on: for custom masks, the toy whose net is pruned already."""
        return PrunedToy(**fields) if self.method.card.when == "custom" else Toy(**fields)

    def bound(self, target: Target, seed: int = 0, **fields: Any) -> Chain:
        """Its chain to a target on the toy."""
        return chain_of(self.method, target, self.toy(**fields), seed)

    def test_its_plan_is_pure(self) -> None:
        for target in targets_for(self.method):
            assert [digest(s) for s in self.method.plan(target)] == [
                digest(s) for s in self.method.plan(target)
            ]

    def test_it_refuses_patterns_that_its_card_does_not_name(self) -> None:
        words = {"free": "0.5", "n:m": "2:4"}
        for pattern in words.keys() - set(self.method.card.patterns):
            with pytest.raises(UsageError, match=self.method.card.name):
                self.method.accept(Target.parse(words[pattern]))

    def test_it_refuses_scopes_that_its_card_does_not_name(self) -> None:
        scopes = self.method.card.scopes
        for scope in set(get_args(Scope)) - set(scopes or get_args(Scope)):
            with pytest.raises(UsageError, match=self.method.card.name):
                self.method.accept(Target(scope=scope))

    def test_the_target_is_met_exactly(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            record, _, masks = run_chain(self.bound(target), tmp_path)
            certificate = record.certificate
            assert certificate is not None and certificate.ok, certificate
            assert bool(masks) == (self.method.card.when != "none")
            assert certificate.dead_tensors == tuple(name for name, mask in masks.items() if not mask.any())
            remaining = sum(int(mask.sum()) for mask in masks.values())
            assert not masks or remaining == certificate.expected
            check_measurements(record)

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
    def test_zeros_hold_under_momentum_and_decay(self, tmp_path: Path, optimizer: str) -> None:
        recipe = Toy().recipe.model_copy(update={"optimizer": optimizer, "lr": 0.1, "clip": 1.0})
        for target in targets_for(self.method):
            _, tensors, masks = run_chain(self.bound(target, recipe=recipe), tmp_path)
            for name, mask in masks.items():
                assert not tensors[name][~mask].any(), name

    def test_what_grows_back_starts_at_zero(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            spied = Spied(method=self.method)
            run_chain(chain_of(spied, target, self.toy()), tmp_path / "spied")
            assert not any(log.grown_above_zero for log in spied.logs)
            link = self.bound(target)
            nets = nets_of_chain(link, tmp_path / "stages")
            for (_, before), (tensors, after), one in zip(nets, nets[1:], link.links[1:], strict=False):
                for name, mask in after.items() if isinstance(one.stage, Prune) else ():
                    assert not tensors[name][mask & ~before.get(name, mask)].any(), name

    def test_what_a_pruning_removed_stays_gone_unless_a_stage_may_revive(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            link = self.bound(target)
            certificate = run_chain(link, tmp_path)[0].certificate
            assert certificate is not None
            assert certificate.regrown == 0 or any(may_revive(one.stage) for one in link.links)

    def test_tied_weights_stay_tied_under_one_mask(self, tmp_path: Path) -> None:
        scopes = self.method.card.scopes
        scope: Scope = "all-2d" if scopes is None or "all-2d" in scopes else "body"
        for target in targets_for(self.method, scope):
            _, tensors, masks = run_chain(self.bound(target), tmp_path)
            assert "words.weight" in tensors and "out.weight" not in tensors
            assert not masks or ("words.weight" in masks) == (scope == "all-2d")
            assert "out.weight" not in masks

    def test_two_runs_are_equal_bit_for_bit(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            link = self.bound(target)
            first, second = run_chain(link, tmp_path / "first"), run_chain(link, tmp_path / "second")
            assert without_time(first[0]) == without_time(second[0])
            assert_equal(first[1:], second[1:])

    def test_a_killed_run_ends_like_one_that_was_not(self, tmp_path: Path) -> None:
        link = self.bound(targets_for(self.method)[0])
        whole = run_chain(link, tmp_path / "whole")
        for after in (1, 7, 12, 13, 20, 33):
            folder = tmp_path / f"killed {after}"
            try:
                run_chain(link, folder, Interrupting(after), checkpoint_seconds=-1.0)
            except Interruption:
                resumed = run_chain(link, folder)
                assert without_time(resumed[0]) == without_time(whole[0])
                assert_equal(resumed[1:], whole[1:])

    def test_its_updaters_announce_their_densities_and_gradients_truly(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            spied = Spied(method=self.method)
            run_chain(chain_of(spied, target, self.toy()), tmp_path)
            for log in spied.logs:
                announced = log.updater.densities(len(log.densities), log.densities[0])
                if announced is not None:
                    # a row that M does not divide keeps a little more or less than N of M
                    near = 1e-9 + (0.5 / log.size if target.pattern == "free" else 0.1)
                    assert log.densities == pytest.approx(steady(log.densities, dict(announced)), abs=near)
                    assert set(log.read) <= set(log.updater.dense_gradient_steps(len(log.densities)))

    def test_seeds_give_different_nets(self, tmp_path: Path) -> None:
        target = targets_for(self.method)[0]
        first, second = (run_chain(self.bound(target, seed=seed), tmp_path)[1] for seed in (0, 1))
        assert any(not torch.equal(first[name], second[name]) for name in first)

    def test_the_plan_prunes_unless_it_is_the_dense_one(self) -> None:
        stages = list(self.method.plan(targets_for(self.method)[0]))
        prunes = any(isinstance(s, Prune) or (isinstance(s, Train) and s.updater) for s in stages)
        assert prunes == (self.method.card.when != "none")


def may_revive(stage: Stage) -> bool:
    """Whether a stage may bring weights back from under a mask."""
    match stage:
        case Train(updater=updater):
            return updater is not None
        case Prune(by=by):
            return by.revives
    return False
