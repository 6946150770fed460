"""The plan tells what a run would pay: shared stages once, finished ones not at all."""

from __future__ import annotations

from typing import Any

import pytest

from smc_eval.experiment.cell import Cell, Chain, chain
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import Magnitude, MagnitudeAfter
from smc_eval.methods.random import RandomAfter
from smc_eval.planning.cost_model import DeviceRate
from smc_eval.planning.plan import Plan, describe_stage, seen_rates, stages_owed, steps_of
from smc_eval.protocol import SOUND
from smc_eval.recipe import Recipe
from smc_eval.score import Score
from smc_eval.stages import Prune, Rewind, Train
from smc_eval.store.record import Record, blank_record, scored_record
from smc_eval.target import SMC_GRID, Target
from smc_eval.testing import Toy

TASK = Toy(recipe=Recipe(steps=10))


def chained(method: Method, sparsity: float = 0.0, task: Toy = TASK) -> Chain:
    cell = Cell(task=task, method=method, target=Target(sparsity=sparsity), protocol=SOUND)
    return chain(cell, task.sources(), 52)


def planned(*chains: Chain, finished: set[str] | None = None, records: tuple[Record, ...] = ()) -> Plan:
    return Plan.of(chains, (finished or set()).__contains__, records)


def record(of: Chain, seconds: float = 5.0, **cost: Any) -> Record:
    cost = {"steps": 20, "seconds": {"train": seconds}, **cost}
    return scored_record(
        blank_record(of.cell, of), Score("accuracy (%)", 50.0, 20), cost=cost, certificate={"ok": True}
    )


def test_after_training_methods_share_one_dense_training() -> None:
    chains = [chained(Dense())]
    chains += [chained(kind(), sparsity) for kind in (MagnitudeAfter, RandomAfter) for sparsity in (0.5, 0.8)]
    plan = planned(*chains)
    assert len(plan.roots) == 1
    (dense,) = plan.roots[0].after
    assert [describe_stage(node.stage, node.steps) for node in dense.after if node.stage] == [
        "prune by magnitude to 0.5",
        "prune by magnitude to 0.8",
        "prune by chance to 0.5",
        "prune by chance to 0.8",
    ]
    assert [one.cell.method.card.name for one in dense.ends] == ["dense"]
    assert plan.totals() == {
        "cells": 5,
        "cells_scored": 0,
        "stages": 1 + 4 * 2,
        "stages_to_do": 9,
        "steps_to_pay": 50,
        "steps_shared": 50,
        "steps_naive": 90,
        "seconds_to_pay": None,
        "seconds_naive": None,
        "flops_to_pay": None,
    }


def test_ten_lotteries_share_one_chain_of_rounds() -> None:
    plan = planned(chained(Dense()), *(chained(LotteryTicket(), sparsity) for sparsity in SMC_GRID))
    trains = [node for node in plan.nodes if isinstance(node.stage, Train)]
    assert len(trains) == 11  # the dense one and the ten after it
    assert plan.shared == 110
    assert plan.naive == 10 + sum(10 * (rounds + 1) for rounds in range(1, 11))


def test_what_is_finished_is_not_paid_again() -> None:
    dense, after = chained(Dense()), chained(MagnitudeAfter(), 0.5)
    plan = planned(dense, after, finished={dense.links[-1].digest})
    assert [node.todo for node in plan.nodes] == [False, True, True]
    assert plan.owed == 10


def test_a_scored_cell_owes_nothing_though_its_net_is_gone() -> None:
    dense, after = chained(Dense()), chained(MagnitudeAfter(), 0.5)
    plan = planned(dense, after, records=(record(after),))
    assert (plan.owed, plan.totals()["cells_scored"]) == (10, 1)
    assert planned(dense, after, records=(record(after), record(dense))).owed == 0


def test_a_failed_record_is_still_to_pay() -> None:
    dense = chained(Dense())
    failed = Record(**{**vars(record(dense)), "status": "failed"})
    assert planned(dense, records=(failed,)).owed == 10


def test_a_net_deep_in_the_chain_spares_all_before_it() -> None:
    after = chained(MagnitudeAfter(), 0.5)
    assert stages_owed(after, {after.links[1].digest}.__contains__) == {after.links[2].digest}


def test_a_rewind_needs_the_net_it_goes_back_to() -> None:
    lottery = chained(LotteryTicket(early=0.2), 0.36)
    early, train, prune, rewind, *rest = (link.digest for link in lottery.links)
    late = {link.digest for link in lottery.links[6:]}
    assert isinstance(lottery.links[3].stage, Rewind)
    assert stages_owed(lottery, {early, prune}.__contains__) == {rewind, *rest}
    # the pruned net alone does not do: its masks are there, the early weights are not
    assert stages_owed(lottery, {prune}.__contains__) == {early, rewind, *rest}
    assert stages_owed(lottery, set().__contains__) == {early, train, prune, rewind, *rest}
    assert late < {rewind, *rest}


def test_a_recipe_of_no_steps_leaves_a_plan_without_training() -> None:
    plan = planned(chained(MagnitudeAfter(), 0.5, Toy(recipe=Recipe(steps=0))))
    assert (plan.naive, [type(node.stage) for node in plan.nodes], plan.seconds) == (0, [Prune], 0.0)


def test_a_part_of_a_recipe_takes_its_share_of_the_steps() -> None:
    recipe = Recipe(epochs=2, batch_size=8)  # 52 examples: 7 steps an epoch
    parts = [
        Train(recipe=recipe, stop=0.3),
        Train(recipe=recipe, start=0.3, stop=0.5),
        Train(recipe=recipe, start=0.5),
    ]
    assert [steps_of(part, 52) for part in parts] == [4, 3, 7]
    assert steps_of(Prune(by=Magnitude(), to=Target(sparsity=0.5)), 52) == 0


def test_time_left_comes_from_records_of_the_same_task_and_model() -> None:
    dense, after = chained(Dense()), chained(MagnitudeAfter(), 0.5)
    assert seen_rates([record(dense, 5.0), record(after, 15.0, steps=60)]) == {("toy", "tiny"): 0.25}
    other = chained(Dense(), task=Toy(recipe=Recipe(steps=40)))
    assert planned(other, records=(record(dense),)).seconds == pytest.approx(40 * 0.25)
    elsewhere = chained(Dense(), task=Toy(backbone="other", recipe=Recipe(steps=40)))
    assert planned(other, elsewhere, records=(record(dense),)).seconds is None


def test_given_rates_go_before_what_the_store_has_seen() -> None:
    dense, after = chained(Dense()), chained(MagnitudeAfter(), 0.5)
    seen = Plan.of([dense, after], set().__contains__, (record(dense, 5.0),))
    given = Plan.of(
        [dense, after], set().__contains__, (record(dense, 5.0),), given=[DeviceRate(seconds=2.0)]
    )
    # ten steps of dense are paid, and twenty of the other begin with the same ten
    assert (seen.owed, seen.seconds, given.seconds) == (20, 5.0, 40.0)


def test_a_price_counts_what_is_owed_once_and_what_would_be_alone() -> None:
    other = chained(Dense(), task=Toy(backbone="other", recipe=Recipe(steps=40)))
    chains = [chained(Dense()), *(chained(MagnitudeAfter(), sparsity) for sparsity in (0.5, 0.8)), other]
    # a batch of 8, three passes' worth of 5 operations a step and example
    plan = Plan.of(chains, set().__contains__, given=[DeviceRate(flops=60.0)], work=lambda task: 5.0)
    first, second = plan.prices()
    assert (first.tasks, first.model, first.cells, first.steps, first.naive) == (("toy",), "tiny", 3, 30, 50)
    assert (first.flops, first.seconds, first.seconds_naive) == (30 * 8 * 15, 60.0, 100.0)
    assert (second.model, second.steps, second.seconds) == ("other", 40, 80.0)
    assert (
        plan.totals() | {"steps_to_pay": 70, "seconds_to_pay": 140.0, "seconds_naive": 180.0} == plan.totals()
    )


def test_one_unknown_part_makes_a_price_unknown() -> None:
    other = chained(Dense(), task=Toy(backbone="other", recipe=Recipe(steps=40)))
    plan = Plan.of(
        [chained(Dense()), other], set().__contains__, given=[DeviceRate(model="other", seconds=1.0)]
    )
    assert [price.seconds for price in plan.prices()] == [None, 40.0]
    assert plan.seconds is None


def test_stages_read_aloud() -> None:
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
