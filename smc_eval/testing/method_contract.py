"""The contract of methods: promises that every method must keep, built-in or from a plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from smc_eval.errors import UsageError
from smc_eval.experiment.cell import MOST_STAGES, Chain
from smc_eval.method import Method
from smc_eval.spec import digest
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Distribution, Scope, Target, level_text
from smc_eval.task import Task
from smc_eval.testing.cell_runs import (
    Interrupting,
    Interruption,
    StagesRun,
    assert_equal,
    chain_of,
    check_measurements,
    nets_of_chain,
    run_chain,
    targets_for,
    without_time,
)
from smc_eval.testing.observed import ObservedMethod, UpdaterLog, density_after_each_step
from smc_eval.testing.promise import refusal
from smc_eval.testing.side_effects import address_in, no_draws, no_files, same_options
from smc_eval.testing.toy import PrunedToy, StillToy, Toy, UnitToy

WORDS_OF_PATTERNS = {"free": "0.5", "n:m": "2:4", "heads": "heads:0.5", "neurons": "neurons:0.5"}
"""A target of each pattern, as users type it."""

MOST_ROUNDED = 0.02
"""Largest share of weights that other sums of the same gradients may turn over, by rounding."""


class MethodContract:
    """Promises that every method must keep. Subclass it in a test module, and set `method`."""

    method: Method
    quick: ClassVar[bool] = False
    """Check one target with one optimizer, and one interruption, instead of all."""
    runs: ClassVar[dict[str, StagesRun]]
    """Runs that several promises look at, by the digest of their chain."""
    logs: ClassVar[dict[str, Sequence[UpdaterLog]]]
    """What its updaters did in observed runs, by the digest of their target."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the contract of another method runs of its own."""
        super().__init_subclass__(**kwargs)
        cls.runs, cls.logs = {}, {}

    def toy(self, **fields: Any) -> Task:
        """The task that it runs on: for custom masks, the toy with a pruned net."""
        return PrunedToy(**fields) if self.method.card.when == "custom" else Toy(**fields)

    def targets(self, scope: Scope = "body") -> list[Target]:
        """The targets that are checked."""
        return targets_for(self.method, scope)[: 1 if self.quick else None]

    def chain(self, target: Target, seed: int = 0, **fields: Any) -> Chain:
        """Its chain to a target, on the toy."""
        return chain_of(self.method, target, self._task(target, **fields), seed)

    def _task(self, target: Target, **fields: Any) -> Task:
        """The toy, or where heads or neurons are pruned a toy that has some."""
        return UnitToy(**fields) if target.is_structured else self.toy(**fields)

    def _run(self, chain: Chain) -> StagesRun:
        """The record of a chain, and the net after each stage. Each chain runs once."""
        if chain.digest not in self.runs:
            with TemporaryDirectory() as folder:
                self.runs[chain.digest] = nets_of_chain(chain, Path(folder))
        return self.runs[chain.digest]

    def _updater_logs(self, target: Target) -> Sequence[UpdaterLog]:
        """What its updaters do in a run to a target: a log for each of them."""
        if not any(isinstance(stage, Train) and stage.updater for stage in self._stages(target)):
            return []
        if target.digest() not in self.logs:
            observed = ObservedMethod(method=self.method)
            with TemporaryDirectory() as folder:
                run_chain(chain_of(observed, target, self._task(target)), Path(folder))
            self.logs[target.digest()] = observed.logs
        return self.logs[target.digest()]

    def _stages(self, target: Target) -> list[Stage]:
        """The stages of its plan, which must have an end."""
        stages = list(islice(self.method.plan(target), MOST_STAGES + 1))
        assert len(stages) <= MOST_STAGES, (
            f"the plan for {level(target)} has more than {MOST_STAGES:,} stages"
        )
        return stages

    def test_its_plan_is_the_same_each_time(self) -> None:
        for target in self.targets():
            first, second = ([digest(stage) for stage in self._stages(target)] for _ in range(2))
            assert first == second, f"two plans for {level(target)} differ: {difference(first, second)}"

    def test_its_plan_computes_nothing(self, tmp_path: Path) -> None:
        for target in self.targets():
            what = f"the plan for {level(target)}"
            with (
                no_draws(what),
                no_files(what, tmp_path / level(target).replace(":", "-")),
                same_options(self.method, what),
            ):
                self._stages(target)

    def test_the_plan_prunes_unless_it_is_the_dense_one(self) -> None:
        prunes = any(
            isinstance(stage, Prune) or (isinstance(stage, Train) and stage.updater is not None)
            for stage in self._stages(self.targets()[0])
        )
        when = self.method.card.when
        assert prunes == (when != "none"), (
            f"the card says when={when!r}, and the plan has {'a' if prunes else 'no'} stage that prunes"
        )

    def test_no_digest_holds_an_address(self) -> None:
        specs = [self.method, *self._stages(self.targets()[0])]
        for spec in specs:
            found = address_in(spec)
            assert not found, (
                f"the digest of {type(spec).__name__} holds the address {found}, "
                "which differs in each process"
            )

    def test_it_refuses_patterns_that_its_card_does_not_name(self) -> None:
        for pattern in sorted(WORDS_OF_PATTERNS.keys() - set(self.method.card.patterns)):
            self._check_refused(Target.parse(WORDS_OF_PATTERNS[pattern]), f"the pattern {pattern!r}")

    def test_it_refuses_scopes_that_its_card_does_not_name(self) -> None:
        for scope in sorted(set(get_args(Scope)) - set(self.method.card.scopes or get_args(Scope))):
            self._check_refused(Target(scope=scope), f"the scope {scope!r}")

    def test_it_refuses_distributions_that_its_card_does_not_name(self) -> None:
        every = get_args(Distribution)
        for distribution in sorted(set(every) - set(self.method.card.distributions or every)):
            target = Target(sparsity=0.5, distribution=distribution)
            self._check_refused(target, f"the distribution {distribution!r}")

    def _check_refused(self, target: Target, what: str) -> None:
        otherwise = f"it accepts {what}, which its card does not name; leave accept() as it is, or add to it"
        with refusal(UsageError, re.escape(self.method.card.name), otherwise):
            self.method.accept(target)

    def test_the_target_is_met_exactly(self) -> None:
        for target in self.targets():
            record, nets = self._run(self.chain(target))
            masks = nets[-1][1] if nets else {}
            certificate = record.certificate
            assert certificate is not None
            assert certificate.ok, f"asked for {level(target)}: {'; '.join(certificate.failed)}"
            when = self.method.card.when
            assert bool(masks) == (when != "none"), (
                f"the card says when={when!r}, and {len(masks)} masks are set"
            )
            dead = {name for name, mask in masks.items() if not mask.any()}
            assert set(certificate.dead_tensors) == dead
            remaining = sum(int(mask.sum()) for mask in masks.values())
            assert not masks or remaining == certificate.expected
            check_measurements(record)

    def test_the_distribution_of_the_target_is_obeyed(self) -> None:
        card = self.method.card
        if "free" not in card.patterns or card.when in {"none", "custom"}:
            return
        if card.distributions is not None and "uniform" not in card.distributions:
            return
        target = Target(sparsity=0.75, distribution="uniform")
        _, nets = self._run(self.chain(target))
        for name, mask in nets[-1][1].items():
            left, wanted = int(mask.sum()), target.density * mask.numel()
            assert abs(left - wanted) <= 1, (
                f"asked for a uniform sparsity of 0.75: {name!r} has {left} weights left of {mask.numel()}, "
                f"wanted {wanted:g}; give masks() the whole target, or name the distributions on the card"
            )

    def test_pruned_weights_stay_zero_under_every_optimizer(self, tmp_path: Path) -> None:
        for optimizer in ("adamw",) if self.quick else ("sgd", "adam", "adamw"):
            recipe = Toy().recipe.model_copy(update={"optimizer": optimizer, "lr": 0.1, "clip": 1.0})
            for target in self.targets():
                _, tensors, masks = run_chain(self.chain(target, recipe=recipe), tmp_path / optimizer)
                for name, mask in masks.items():
                    count = int(tensors[name][~mask].count_nonzero())
                    assert not count, f"{count} pruned weights of {name!r} are not zero under {optimizer}"

    def test_regrown_weights_start_at_zero(self) -> None:
        for target in self.targets():
            for log in self._updater_logs(target):
                grown = log.nonzero_growth
                assert not grown, f"regrown weights of {grown[0]!r} do not start at zero"
            chain = self.chain(target)
            nets = self._run(chain).nets
            for (_, before), (tensors, after), link in zip(nets, nets[1:], chain.links[1:], strict=False):
                for name, mask in after.items() if isinstance(link.stage, Prune) else ():
                    count = int(tensors[name][mask & ~before.get(name, mask)].count_nonzero())
                    assert not count, f"{count} regrown weights of {name!r} do not start at zero"

    def test_pruned_weights_stay_pruned_unless_a_stage_may_revive_them(self) -> None:
        for target in self.targets():
            chain = self.chain(target)
            record, nets = self._run(chain)
            assert record.certificate is not None
            regrown = record.certificate.regrown
            assert regrown == 0 or any(may_revive(link.stage) for link in chain.links), (
                f"{regrown} pruned weights grow back, and no stage says that it revives weights"
            )
            for number, link in enumerate(chain.links[1:], 1):
                (_, before), (_, after) = nets[number - 1], nets[number]
                back = [name for name, mask in before.items() if (after[name] & ~mask).any()]
                assert may_revive(link.stage) or not back, (
                    f"stage {number + 1} revives pruned weights of {back[0]!r}; set `revives = True`, "
                    "or give masks() within=probe.masks"
                )

    def test_its_updaters_leave_weights_and_momentum_to_the_engine(self) -> None:
        for target in self.targets():
            for log in self._updater_logs(target):
                written = log.written
                assert not written, f"{written[0]}; an updater changes the net by the functions of its view"

    def test_tied_weights_share_one_mask(self, tmp_path: Path) -> None:
        scopes = self.method.card.scopes
        scope: Scope = "all-2d" if scopes is None or "all-2d" in scopes else "body"
        for target in self.targets(scope):
            _, tensors, masks = run_chain(self.chain(target), tmp_path)
            assert "words.weight" in tensors and "out.weight" not in tensors
            in_scope = scope == "all-2d" and not target.is_structured
            assert not masks or ("words.weight" in masks) == in_scope, (
                f"the tied weight 'words.weight' has {'no' if in_scope else 'a'} mask in scope {scope!r}"
            )
            assert "out.weight" not in masks, "the second name of a tied weight, 'out.weight', has a mask"

    def test_two_runs_are_equal_bit_for_bit(self, tmp_path: Path) -> None:
        for target in self.targets():
            chain = self.chain(target)
            record, nets = self._run(chain)
            other = run_chain(chain, tmp_path / level(target))
            if nets:
                assert_equal(nets[-1], other[1:])
            assert without_time(record) == without_time(other[0]), "two runs have other records"

    def test_an_interrupted_run_ends_like_an_uninterrupted_one(self, tmp_path: Path) -> None:
        chain = self.chain(self.targets()[0])
        record, nets = self._run(chain)
        for after in (7,) if self.quick else (1, 7, 12, 13, 20, 33):
            folder = tmp_path / f"interrupted after {after}"
            try:
                run_chain(chain, folder, Interrupting(after), checkpoint_seconds=-1.0)
            except Interruption:
                resumed = run_chain(chain, folder)
                assert_equal(nets[-1], resumed[1:], f"interrupted after {after} steps, it ends otherwise")
                assert without_time(resumed[0]) == without_time(record), (
                    f"interrupted after {after} steps, it has another record"
                )

    def test_it_decides_the_same_when_a_batch_is_cut_into_parts(self, tmp_path: Path) -> None:
        for target in self.targets()[:1]:
            if target.is_structured or self.method.card.when in {"none", "custom"}:
                return
            chain = chain_of(self.method, target, StillToy())
            whole, parts = (run_chain(chain, tmp_path / str(n), parts=n)[2] for n in (1, 2))
            differing = sum(int((parts[name] ^ mask).sum()) for name, mask in whole.items())
            share = differing / sum(mask.numel() for mask in whole.values())
            assert share <= MOST_ROUNDED, (
                f"{share:.0%} of its masks differ when each batch is passed in two parts, as under "
                "accumulation and on two ranks; decide by the gradients of the probe or the view alone"
            )

    def test_its_updaters_announce_their_densities_and_gradient_steps(self) -> None:
        for target in self.targets():
            for log in self._updater_logs(target):
                steps = len(log.densities)
                if log.updater.soft and log.updater.straight_through:
                    dense = list(log.updater.dense_gradient_steps(steps))
                    assert dense == list(range(steps)), "pruned weights learn at steps that it omits"
                unannounced = sorted(set(log.gradient_steps) - set(log.updater.dense_gradient_steps(steps)))
                assert not unannounced, (
                    f"it reads gradients at steps that dense_gradient_steps omits: {unannounced[:3]}"
                )
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
                for step, (reached, said) in enumerate(zip(log.densities, wanted, strict=True)):
                    assert abs(reached - said) <= tolerance, (
                        f"the density after step {step} is {reached:.4g}, and {said:.4g} is announced"
                    )

    def test_seeds_give_different_nets_and_masks(self, tmp_path: Path) -> None:
        target = self.targets()[0]
        runs = [run_chain(self.chain(target, seed=seed), tmp_path) for seed in (0, 1)]
        (_, first, masks), (_, second, others) = runs
        assert any(not torch.equal(first[name], second[name]) for name in first), "seeds 0 and 1 have one net"
        assert self.method.card.when in {"none", "custom"} or any_differ(masks, others), (
            "seeds 0 and 1 have the same masks; draw by the generator of the probe or the view"
        )


def level(target: Target) -> str:
    """A target as users type it."""
    return level_text(target.pattern, f"{target.sparsity:g}")


def difference(first: list[str], second: list[str]) -> str:
    """How two lists of digests differ, in words."""
    if len(first) != len(second):
        return f"{len(first)} and {len(second)} stages"
    return (
        f"stage {next(n for n, pair in enumerate(zip(first, second, strict=True), 1) if pair[0] != pair[1])}"
    )


def any_differ(masks: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    """Whether a tensor of one mapping differs from that of the other."""
    return any(not torch.equal(mask, others[name]) for name, mask in masks.items())


def may_revive(stage: Stage) -> bool:
    """Whether a stage may unprune weights."""
    match stage:
        case Train(updater=updater):
            return updater is not None
        case Prune(by=by):
            return by.revives
    return False
