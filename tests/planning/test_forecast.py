"""The forecast of a run: seconds by hand, and a simulated grid whose end is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from smc_eval.card import TaskCard
from smc_eval.experiment.cell import Chain
from smc_eval.methods.dense import Dense
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.planning.forecast import Forecast, RunningCell
from smc_eval.planning.plan import seen_rates, stages_to_run, steps_of
from smc_eval.planning.scheduler import Scheduler
from smc_eval.store.record import Record
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, record_with

DENSE, AFTER, BEFORE = (
    chain_of(Dense(), Target()),
    chain_of(MagnitudeAfter(), Target(sparsity=0.5)),
    chain_of(MagnitudeBefore(), Target(sparsity=0.5)),
)
"""12 steps; the same 12 and 12 more; 12 others."""


class Slow(Toy):
    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"name": "slow"})


class Quick(Toy):
    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"name": "quick"})


def nothing(_digest: str) -> bool:
    return False


def record_of(chain: Chain, train: float, steps: int) -> Record:
    """A record whose trainings took `train` seconds for so many steps."""
    cost = {"steps": steps, "seconds": {"train": train, "prune": 0.0, "predict": 0.0}}
    made = record_with(task=chain.cell.task.label, method=chain.cell.method.label, cost=cost)
    return replace(made, digest=chain.digest)


def test_before_anything_is_known_there_is_no_forecast() -> None:
    forecast = Forecast([DENSE, AFTER], nothing)
    assert forecast.seconds_left() is None
    assert forecast.seconds_left([RunningCell(1, 5.0)]) is None


def test_the_pace_of_the_first_training_prices_all_cells_and_a_shared_stage_counts_once() -> None:
    forecast = Forecast([DENSE, AFTER], nothing)
    running = [RunningCell(1, 6.0, trained=3, pace=2.0)]
    # nine steps of the first cell, then twelve of the second, of two seconds each
    assert forecast.seconds_left(running) == pytest.approx(9 * 2 + 12 * 2)
    # a second worker does not help: the second cell waits for the first
    assert forecast.seconds_left(running, lanes=2) == pytest.approx(9 * 2 + 12 * 2)


def test_a_cell_costs_its_steps_and_what_it_took_beside_them() -> None:
    forecast = Forecast([DENSE, AFTER, BEFORE], nothing)
    # 12 steps of 1 s, and 3 s more
    forecast.end(1, record_of(DENSE, 12.0, 12), seconds=15.0, trained=12)
    assert forecast.seconds_left() == pytest.approx(2 * (12 + 3))
    assert forecast.seconds_left(lanes=2) == pytest.approx(12 + 3)
    # one runs: 4 of its 12 steps are done
    assert forecast.seconds_left([RunningCell(2, 5.0, trained=4, pace=1.0)]) == pytest.approx(8 + 3 + 15)
    # the training is over, one of its last three seconds has passed
    assert forecast.seconds_left([RunningCell(2, 13.0, trained=12)]) == pytest.approx(2 + 15)
    # longer than expected: it may end any moment
    assert forecast.seconds_left([RunningCell(2, 40.0, trained=12)]) == pytest.approx(15)


def test_cells_of_the_store_cost_nothing_and_their_steps_have_a_price_before_any_cell_ends() -> None:
    stored = record_of(DENSE, 24.0, 12)
    forecast = Forecast([DENSE, AFTER], nothing, [stored])
    assert forecast.seconds_left() == pytest.approx(24 * 2.0)  # the store has no net: it trains again
    with_net = Forecast([DENSE, AFTER], {DENSE.links[0].digest}.__contains__, [stored])
    assert with_net.seconds_left() == pytest.approx(12 * 2.0)
    with_net.end(1, stored)  # settled from the store
    assert with_net.seconds_left() == pytest.approx(12 * 2.0)
    done = Forecast([DENSE], nothing, [stored])
    assert done.seconds_left() == 0


def test_what_a_task_takes_in_this_run_counts_more_than_its_earlier_records() -> None:
    earlier = record_of(chain_of(Dense(), Target(), seed=7), 1200.0, 12)
    forecast = Forecast([DENSE, AFTER], nothing, [earlier])
    assert forecast.seconds_left() == pytest.approx(24 * 100.0)
    forecast.end(1, record_of(DENSE, 12.0, 12), seconds=12.0, trained=12)
    assert forecast.seconds_left() == pytest.approx(12 * 1.0)


def test_a_method_has_its_own_price_once_a_cell_of_it_has_ended() -> None:
    more = chain_of(MagnitudeBefore(), Target(sparsity=0.9))
    forecast = Forecast([DENSE, BEFORE, more], nothing)
    forecast.end(1, record_of(DENSE, 12.0, 12), seconds=12.0, trained=12)
    assert forecast.seconds_left() == pytest.approx(24)
    forecast.end(2, record_of(BEFORE, 36.0, 12), seconds=40.0, trained=12)
    assert forecast.seconds_left() == pytest.approx(36 + 4)


def test_a_task_that_nothing_is_known_of_has_the_price_of_its_kind() -> None:
    chains = [DENSE, chain_of(Dense(), Target(), Slow())]
    forecast = Forecast(chains, nothing)
    forecast.end(1, record_of(DENSE, 12.0, 12), seconds=13.0, trained=12)
    assert forecast.seconds_left() == pytest.approx(12 + 1)


def test_a_failed_cell_costs_nothing_more_and_leaves_its_shared_stage_to_others() -> None:
    forecast = Forecast([DENSE, AFTER], nothing, [record_of(chain_of(Dense(), Target(), seed=7), 12.0, 12)])
    forecast.end(1, record_with(status="failed", score=None, digest=DENSE.digest), seconds=1.0)
    assert forecast.seconds_left() == pytest.approx(24)
    forecast.end(2, record_with(status="failed", score=None, digest=AFTER.digest), seconds=1.0)
    assert forecast.seconds_left() == 0


SECONDS_OF_A_STEP = {"toy": 0.4, "slow": 3.0, "quick": 0.05}
SECONDS_BESIDE = {"toy": 2.0, "slow": 5.0, "quick": 1.0}


def simulated(chains: Sequence[Chain]) -> tuple[list[tuple[float, float | None]], float]:
    """One worker runs a grid. Returns the time and the forecast at each end of a cell, and the whole."""
    forecast, finished, waiting = Forecast(chains, nothing), set[str](), list(chains)
    now, rates, told, records = 0.0, {}, list[tuple[float, float | None]](), list[Record]()
    while waiting:
        chain = Scheduler(rates).next(waiting, [], finished)
        assert chain is not None
        waiting.remove(chain)
        todo = stages_to_run(chain, finished.__contains__)
        name = chain.cell.task.card.name
        steps = {link.digest: steps_of(link.stage, chain.examples) for link in chain.links}
        trained = sum(steps[stage] for stage in todo)
        seconds = trained * SECONDS_OF_A_STEP[name] + SECONDS_BESIDE[name]
        now += seconds
        finished |= todo
        whole = sum(steps.values())
        records.append(record_of(chain, whole * SECONDS_OF_A_STEP[name], whole))
        rates = seen_rates(records)
        forecast.end(chains.index(chain) + 1, records[-1], seconds, trained)
        told.append((now, forecast.seconds_left()))
    return told, now


def test_after_a_tenth_of_a_grid_of_unequal_tasks_the_forecast_is_right_to_a_quarter() -> None:
    methods = (MagnitudeAfter(), MagnitudeBefore())
    chains = [
        chain_of(method, target, task, seed)
        for task in (Quick(), Toy(), Slow())
        for seed in range(8)
        for method, target in [
            (Dense(), Target()),
            *((method, Target(sparsity=s)) for method in methods for s in (0.5, 0.8)),
        ]
    ]
    told, whole = simulated(chains)
    for share in (0.1, 0.25, 0.5):
        now, left = next((now, left) for now, left in told if now >= share * whole)
        assert left is not None and abs(now + left - whole) <= 0.25 * (whole - now), share
    assert told[-1][1] == 0
