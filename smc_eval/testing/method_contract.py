"""The contract of methods: what every one must keep, ours and strangers'."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from smc_eval.engine import train as loop
from smc_eval.errors import UsageError
from smc_eval.experiment.cell import Chain
from smc_eval.method import Method
from smc_eval.sparse.net import Net
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
    run_chain,
    targets_for,
    without_time,
)
from smc_eval.testing.toy import PrunedToy, Toy
from smc_eval.updater import Updater


class MethodContract:
    """What every method must keep. Subclass it in a test module and name the method."""

    method: Method

    def toy(self, **fields: Any) -> Task:
        """What it runs on; where masks are given, the toy whose net comes pruned."""
        return PrunedToy(**fields) if self.method.card.when == "given" else Toy(**fields)

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
            result, _, masks = run_chain(self.bound(target), tmp_path)
            kept = sum(int(mask.sum()) for mask in masks.values())
            assert bool(masks) == (self.method.card.when != "none")
            assert result.certificate["ok"], result.certificate
            dead = [name for name, mask in masks.items() if not mask.any()]
            assert result.certificate["dead_tensors"] == dead
            assert not masks or kept == result.certificate["wanted"]
            check_measurements(result)

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
    def test_zeros_hold_under_momentum_and_decay(self, tmp_path: Path, optimizer: str) -> None:
        recipe = Toy().recipe.model_copy(update={"optimizer": optimizer, "lr": 0.1, "clip": 1.0})
        for target in targets_for(self.method):
            _, tensors, masks = run_chain(self.bound(target, recipe=recipe), tmp_path)
            for name, mask in masks.items():
                assert not tensors[name][~mask].any(), name

    def test_what_grows_back_starts_at_zero(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wear = Net.set_masks
        seen: list[Tensor] = []

        def watched(net: Net, masks: Any) -> dict[str, Tensor]:
            grown = wear(net, masks)
            if not net.soft:
                seen.extend(net.weights[name][back] for name, back in grown.items())
            return grown

        monkeypatch.setattr(Net, "wear", watched)
        for target in targets_for(self.method):
            run_chain(self.bound(target), tmp_path)
        assert not any(values.any() for values in seen)

    def test_what_a_pruning_took_stays_gone_unless_a_rule_regrows(self, tmp_path: Path) -> None:
        for target in targets_for(self.method):
            link = self.bound(target)
            if not any(_regrows(n.stage) for n in link.links):
                assert run_chain(link, tmp_path)[0].certificate["regrown"] == 0

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

    def test_a_killed_run_ends_like_one_that_was_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
        target = targets_for(self.method)[0]
        link = self.bound(target)
        whole = run_chain(link, tmp_path / "whole")
        for after in (1, 7, 12, 13, 20, 33):
            folder = tmp_path / f"killed {after}"
            try:
                run_chain(link, folder, Interrupting(after))
            except Interruption:
                resumed = run_chain(link, folder)
                assert without_time(resumed[0]) == without_time(whole[0])
                assert_equal(resumed[1:], whole[1:])

    def test_what_its_rules_tell_of_themselves_is_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for target in targets_for(self.method):
            link, seen = self.bound(target), list[Seen]()
            with monkeypatch.context() as patch:
                watched(patch, seen)
                run_chain(link, tmp_path)
            for one in seen:
                told = one.updater.densities(len(one.densities), one.densities[0])
                if told is not None:
                    # a row that M does not divide keeps a little more or less than N of M
                    near = 1e-9 + (0.5 / one.size if target.pattern == "free" else 0.1)
                    assert one.densities == pytest.approx(_steady(one.densities, dict(told)), abs=near)
                    assert set(one.read) <= set(one.updater.dense_gradient_steps(len(one.densities)))

    def test_seeds_give_different_nets(self, tmp_path: Path) -> None:
        target = targets_for(self.method)[0]
        first, second = (run_chain(self.bound(target, seed=seed), tmp_path)[1] for seed in (0, 1))
        assert any(not torch.equal(first[name], second[name]) for name in first)

    def test_the_plan_prunes_unless_it_is_the_dense_one(self) -> None:
        stages = list(self.method.plan(targets_for(self.method)[0]))
        prunes = any(isinstance(s, Prune) or (isinstance(s, Train) and s.updater) for s in stages)
        assert prunes == (self.method.card.when != "none")


@dataclass
class Seen:
    """A training under a rule, as it went."""

    updater: Updater
    size: int
    """Weights in scope."""
    densities: list[float] = field(default_factory=list)
    """Of the net at each step's forward pass."""
    read: list[int] = field(default_factory=list)
    """Steps at which the rule asked for gradients."""


def watched(patch: pytest.MonkeyPatch, seen: list[Seen]) -> None:
    """Have each training under a rule from now on leave what it did."""
    advance, grads = loop.Training._advance, loop.TrainingStep.grads

    def advanced(training: loop.Training) -> float:
        if training.updater:
            net = training.net
            if training.step == training.first:
                seen.append(Seen(training.updater, sum(mask.numel() for mask in net.full_masks.values())))
            seen[-1].densities.append(net.density)
        return advance(training)

    def asked(view: loop.TrainingStep) -> Any:
        seen[-1].read.append(view.step)
        return grads.__get__(view)

    patch.setattr(loop.Training, "_advance", advanced)
    patch.setattr(loop.TrainingStep, "grads", property(asked))


def _steady(found: list[float], changes: dict[int, float]) -> list[float]:
    """Densities step by step from the first that was found and the changes that are told."""
    wanted = found[:1]
    for step in range(len(found) - 1):
        wanted.append(changes.get(step, wanted[-1]))
    return wanted


def _regrows(stage: Stage) -> bool:
    """Whether a stage may bring weights back from under a mask."""
    match stage:
        case Train(updater=updater):
            return updater is not None
        case Prune(by=by):
            return by.revives
    return False
