"""Plans: shared stages count once, finished stages not at all."""

from __future__ import annotations

import pytest

from smc_eval.experiment.cell import Cell, Chain, chain
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import Magnitude, MagnitudeAfter
from smc_eval.methods.random import RandomAfter
from smc_eval.planning.cost_model import DeviceRate
from smc_eval.planning.plan import Plan, describe_stage, seen_rates, stages_to_run, steps_of
from smc_eval.protocol import SOUND
from smc_eval.recipe import Recipe
from smc_eval.score import Score
from smc_eval.stages import Prune, Rewind, Train
from smc_eval.store.record import Record, blank_record, failed_record, scored_record
from smc_eval.target import SMC_GRID, Target
from smc_eval.testing import Toy, record_with

TASK = Toy(recipe=Recipe(steps=10))


def chained(method: Method, sparsity: float = 0.0, task: Toy = TASK) -> Chain:
    cell = Cell(task=task, method=method, target=Target(sparsity=sparsity), protocol=SOUND)
    return chain(cell, task.sources(), 52)


def planned(*chains: Chain, finished: set[str] | None = None, records: tuple[Record, ...] = ()) -> Plan:
    return Plan.of(chains, (finished or set()).__contains__, records)


def record(of: Chain, seconds: float = 5.0, steps: int = 20) -> Record:
    parts = record_with(cost={"steps": steps, "seconds": {"train": seconds}})
    score = Score("accuracy (%)", 50.0, 20)
    return scored_record(blank_record(of.cell, of), score, cost=parts.cost, certificate=parts.certificate)


def test_methods_that_prune_after_training_share_one_dense_training() -> None:
    chains = [chained(Dense())]
    chains += [chained(kind(), sparsity) for kind in (MagnitudeAfter, RandomAfter) for sparsity in (0.5, 0.8)]
    plan = planned(*chains)
    assert len(plan.roots) == 1
    (dense,) = plan.roots[0].after
    assert [describe_stage(node.stage, node.steps) for node in dense.after if node.stage] == [
        "prune by magnitude to 0.5",
        "prune by magnitude to 0.8",
        "prune by random saliency to 0.5",
        "prune by random saliency to 0.8",
    ]
    assert [chain.cell.method.card.name for chain in dense.ends] == ["dense"]
    assert plan.totals() == {
        "cells": 5,
        "cells_scored": 0,
        "stages": 1 + 4 * 2,
        "stages_to_do": 9,
        "steps_to_run": 50,
        "steps_shared": 50,
        "steps_without_sharing": 90,
        "seconds_to_run": None,
        "seconds_without_sharing": None,
        "flops_to_run": None,
    }


def test_lth_at_ten_sparsities_shares_one_chain_of_rounds() -> None:
    plan = planned(chained(Dense()), *(chained(LotteryTicket(), sparsity) for sparsity in SMC_GRID))
    trains = [node for node in plan.nodes if isinstance(node.stage, Train)]
    assert len(trains) == 11  # the dense one and the ten after it
    assert plan.steps_shared == 110
    assert plan.steps_naive == 10 + sum(10 * (rounds + 1) for rounds in range(1, 11))


def test_a_finished_stage_is_not_run_again() -> None:
    dense, after = chained(Dense()), chained(MagnitudeAfter(), 0.5)
    plan = planned(dense, after, finished={dense.links[-1].digest})
    assert [node.todo for node in plan.nodes] == [False, True, True]
    assert plan.steps_to_run == 10


def test_a_scored_cell_has_no_stage_to_run_even_without_its_net() -> None:
    dense, after = chained(Dense()), chained(MagnitudeAfter(), 0.5)
    plan = planned(dense, after, records=(record(after),))
    assert (plan.steps_to_run, plan.totals()["cells_scored"]) == (10, 1)
    assert planned(dense, after, records=(record(after), record(dense))).steps_to_run == 0


def test_a_failed_cell_runs_again() -> None:
    dense = chained(Dense())
    failed = failed_record(record(dense), "out of memory")
    assert planned(dense, records=(failed,)).steps_to_run == 10


def test_stages_before_a_finished_net_do_not_run() -> None:
    after = chained(MagnitudeAfter(), 0.5)
    assert stages_to_run(after, {after.links[1].digest}.__contains__) == {after.links[2].digest}


def test_a_rewind_needs_the_net_that_it_goes_back_to() -> None:
    lth = chained(LotteryTicket(early=0.2), 0.36)
    early, train, prune, rewind, *rest = (link.digest for link in lth.links)
    late = {link.digest for link in lth.links[6:]}
    assert isinstance(lth.links[3].stage, Rewind)
    assert stages_to_run(lth, {early, prune}.__contains__) == {rewind, *rest}
    # the pruned net is not enough: it has the masks, but not the early weights
    assert stages_to_run(lth, {prune}.__contains__) == {early, rewind, *rest}
    assert stages_to_run(lth, set().__contains__) == {early, train, prune, rewind, *rest}
    assert late < {rewind, *rest}


def test_a_recipe_without_steps_makes_a_plan_without_training() -> None:
    plan = planned(chained(MagnitudeAfter(), 0.5, Toy(recipe=Recipe(steps=0))))
    assert (plan.steps_naive, [type(node.stage) for node in plan.nodes], plan.seconds) == (0, [Prune], 0.0)


def test_a_part_of_a_recipe_has_its_share_of_the_steps() -> None:
    recipe = Recipe(epochs=2, batch_size=8)  # 52 examples: 7 steps an epoch
    parts = [
        Train(recipe=recipe, stop=0.3),
        Train(recipe=recipe, start=0.3, stop=0.5),
        Train(recipe=recipe, start=0.5),
    ]
    assert [steps_of(part, 52) for part in parts] == [4, 3, 7]
    assert steps_of(Prune(by=Magnitude(), to=Target(sparsity=0.5)), 52) == 0


def test_the_time_to_run_comes_from_records_of_the_same_task_and_model() -> None:
    dense, after = chained(Dense()), chained(MagnitudeAfter(), 0.5)
    assert seen_rates([record(dense, 5.0), record(after, 15.0, steps=60)]) == {("toy", "tiny"): 0.25}
    other = chained(Dense(), task=Toy(recipe=Recipe(steps=40)))
    assert planned(other, records=(record(dense),)).seconds == pytest.approx(40 * 0.25)
    elsewhere = chained(Dense(), task=Toy(backbone="other", recipe=Recipe(steps=40)))
    assert planned(other, elsewhere, records=(record(dense),)).seconds is None


def test_given_rates_replace_measured_rates() -> None:
    dense, after = chained(Dense()), chained(MagnitudeAfter(), 0.5)
    seen = Plan.of([dense, after], set().__contains__, (record(dense, 5.0),))
    given = Plan.of(
        [dense, after], set().__contains__, (record(dense, 5.0),), given=[DeviceRate(seconds=2.0)]
    )
    # ten steps of dense; the twenty of the other begin with the same ten
    assert (seen.steps_to_run, seen.seconds, given.seconds) == (20, 5.0, 40.0)


def test_a_cost_has_the_steps_to_run_and_those_without_sharing() -> None:
    other = chained(Dense(), task=Toy(backbone="other", recipe=Recipe(steps=40)))
    chains = [chained(Dense()), *(chained(MagnitudeAfter(), sparsity) for sparsity in (0.5, 0.8)), other]
    # per step a batch of 8, and per example three passes of 5 operations
    plan = Plan.of(chains, set().__contains__, given=[DeviceRate(flops=60.0)], forward_flops=lambda task: 5.0)
    first, second = plan.costs()
    assert (first.tasks, first.model, first.cells, first.steps, first.steps_without_sharing) == (
        ("toy",),
        "tiny",
        3,
        30,
        50,
    )
    assert (first.flops, first.seconds, first.seconds_without_sharing) == (30 * 8 * 15, 60.0, 100.0)
    assert (second.model, second.steps, second.seconds) == ("other", 40, 80.0)
    assert (
        plan.totals() | {"steps_to_run": 70, "seconds_to_run": 140.0, "seconds_without_sharing": 180.0}
        == plan.totals()
    )


def test_one_unknown_part_makes_a_cost_unknown() -> None:
    other = chained(Dense(), task=Toy(backbone="other", recipe=Recipe(steps=40)))
    plan = Plan.of(
        [chained(Dense()), other], set().__contains__, given=[DeviceRate(model="other", seconds=1.0)]
    )
    assert [cost.seconds for cost in plan.costs()] == [None, 40.0]
    assert plan.seconds is None


def test_stages_in_words() -> None:
    recipe = Recipe(steps=10)
    assert describe_stage(Train()) == "train by the task's recipe"
    assert describe_stage(Train(recipe=recipe)) == "train by a recipe of its own"
    assert (
        describe_stage(Train(recipe=recipe, stop=0.25, name="early"), 3)
        == "train 3 steps, 0% to 25% (point 'early')"
    )
    assert describe_stage(Prune(by=Magnitude(), to=Target(sparsity=SMC_GRID[9]), rounds=3)) == (
        "prune by magnitude to 0.8926 in 3 rounds"
    )
    assert (
        describe_stage(Prune(by=Magnitude(), to=Target(sparsity=0.5, distribution="erk")))
        == "prune by magnitude to 0.5 erk"
    )
    assert describe_stage(Prune(by=Magnitude(), to=Target.parse("2:4"))) == "prune by magnitude to 2:4"
    assert describe_stage(Rewind()) == "rewind weights to 'start'"
