"""The makespan: the order of the scheduler, no needless waiting, and no stage twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.experiment.cell import Cell, Chain, Link
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.planning.cost_model import DeviceRate
from smc_eval.planning.makespan import Lengths, RemainingStages, Schedule, StageRun, remaining, unshared
from smc_eval.planning.plan import Plan, stages_to_run
from smc_eval.planning.scheduler import Scheduler
from smc_eval.protocol import SOUND
from smc_eval.recipe import Recipe
from smc_eval.stages import Rewind, Train
from smc_eval.target import SMC_GRID, Target
from smc_eval.testing import Toy, chain_of

TASK = Toy(recipe=Recipe(steps=10))
CELL = Cell(task=TASK, method=Dense(), target=Target(), protocol=SOUND)


@dataclass(frozen=True)
class Case:
    """Chains that share their first stages, and the seconds of all stages."""

    chains: Sequence[Chain]
    lengths: Lengths
    finished: frozenset[str]

    def schedule(self, workers: int) -> Schedule:
        return Schedule.of(self.cells, self.lengths, workers, Scheduler())

    @property
    def cells(self) -> list[RemainingStages]:
        return remaining(self.chains, self.finished.__contains__)

    @property
    def total(self) -> float:
        """Seconds of all stages to run, each once."""
        todo = set().union(*(stages_to_run(chain, self.finished.__contains__) for chain in self.chains))
        return sum(self.lengths[digest] for digest in todo)

    @property
    def critical(self) -> float:
        return max(
            sum(self.lengths[digest] for digest in stages_to_run(chain, self.finished.__contains__))
            for chain in self.chains
        )


@st.composite
def cases(draw: Callable[..., Any], *, holes: bool = False) -> Case:
    """Chains of letters: a common beginning is shared, and an r goes back to the first stage.

    Steps, which determine the order, and seconds are independent. Without `holes` a store that has a net
    also has all nets before it.
    """
    words = draw(st.lists(st.text("abr", min_size=1, max_size=6), min_size=1, max_size=12, unique=True))
    stages = sorted({part for word in words for part in accumulate(word)})
    numbers = st.lists(st.integers(0, 9), min_size=len(stages), max_size=len(stages))
    counts, seconds = (dict(zip(stages, draw(numbers), strict=True)) for _ in range(2))

    def link(part: str) -> Link:
        if part[-1] == "r" and len(part) > 1:
            return Link(Rewind(to="first"), part, back=part[0])
        return Link(Train(recipe=Recipe(steps=counts[part])), part)

    chains = [Chain(CELL, "start", tuple(map(link, accumulate(word))), (), 52) for word in words]
    done = draw(st.sets(st.sampled_from(stages)))
    done = {part for part in done if holes or set(accumulate(part)) <= done}
    return Case(chains, {part: float(seconds[part]) for part in stages}, frozenset(done))


def simulated(case: Case, workers: int) -> set[StageRun]:
    """The same schedule, by calls of `Scheduler.next` for each free worker."""
    waiting, done, now = {chain.digest: chain for chain in case.chains}, set(case.finished), 0.0
    running: list[tuple[Chain, list[str], float]] = []
    stage_runs = set[StageRun]()
    while waiting or running:
        while waiting and len(running) < workers:
            chain = Scheduler().next(waiting.values(), [chain for chain, _, _ in running], done)
            if chain is None:
                break
            del waiting[chain.digest]
            todo = stages_to_run(chain, done.__contains__)
            if todo:
                running.append((chain, [link.digest for link in chain.links if link.digest in todo], now))
        if not running:
            assert not waiting, "all cells wait for one another"
            return stage_runs
        now = min(began + case.lengths[todo[0]] for _, todo, began in running)
        while ended := [
            (c, todo, began) for c, todo, began in running if began + case.lengths[todo[0]] == now
        ]:
            chain, (digest, *after), began = ended[0]
            running.remove(ended[0])
            done.add(digest)
            stage_runs.add(StageRun(digest, chain.digest, began, now))
            if after:
                running.append((chain, after, now))
    return stage_runs


@given(cases(holes=True), st.integers(1, 6))
def test_cells_begin_in_the_order_of_the_scheduler(case: Case, workers: int) -> None:
    assert set(case.schedule(workers).stage_runs) == simulated(case, workers)


@given(cases(holes=True), st.integers(1, 6))
def test_every_stage_to_run_runs_once_and_after_those_it_starts_from(case: Case, workers: int) -> None:
    stage_runs = {run.digest: run for run in case.schedule(workers).stage_runs}
    assert len(stage_runs) == len(case.schedule(workers).stage_runs)
    for chain in case.chains:
        todo = stages_to_run(chain, case.finished.__contains__)
        assert todo <= stage_runs.keys()
        for before, link in zip(chain.digests(), chain.links, strict=False):
            if link.digest in todo:
                sources = {before, link.back or before} & todo
                assert all(stage_runs[s].end <= stage_runs[link.digest].begin for s in sources)


@given(cases(), st.integers(1, 6))
def test_no_more_stages_run_at_once_than_there_are_workers(case: Case, workers: int) -> None:
    stage_runs = case.schedule(workers).stage_runs
    for now in {run.begin for run in stage_runs}:
        assert sum(run.begin <= now < run.end for run in stage_runs) <= workers


@given(cases(), st.integers(1, 6))
def test_no_makespan_is_below_the_longest_chain_or_an_even_share(case: Case, workers: int) -> None:
    makespan = case.schedule(workers).makespan
    assert makespan >= max(case.critical, case.total / workers) - 1e-9


@given(cases(), st.integers(1, 6))
def test_no_makespan_is_above_grahams_bound(case: Case, workers: int) -> None:
    # Graham (1966). It also holds for cells that begin as a whole: shared stages come first in a chain, so a
    # cell that blocks another is running the very stage that the other waits for
    bound = case.total / workers + (1 - 1 / workers) * case.critical
    assert case.schedule(workers).makespan <= bound + 1e-9


@given(cases(holes=True))
def test_one_worker_takes_the_total_time(case: Case) -> None:
    schedule = case.schedule(1)
    assert schedule.makespan == schedule.total == case.total
    assert schedule.utilisation == 1.0


@given(cases(), st.integers(1, 6))
def test_without_sharing_every_cell_runs_all_its_stages(case: Case, workers: int) -> None:
    alone, lengths = unshared(case.chains, case.lengths)
    schedule = Schedule.of(alone, lengths, workers, Scheduler())
    naive = [sum(case.lengths[link.digest] for link in chain.links) for chain in case.chains]
    assert schedule.total == sum(naive)
    assert Schedule.of(alone, lengths, len(naive), Scheduler()).makespan == max(naive)
    assert schedule.makespan >= max(*naive, sum(naive) / workers) - 1e-9


def second(*chains: Chain) -> dict[str, float]:
    """Lengths at one second per step."""
    return Plan.of(chains, set[str]().__contains__, given=(DeviceRate(seconds=1.0),)).lengths()


def test_a_small_grid_is_scheduled_as_by_hand() -> None:
    dense = chain_of(Dense(), Target(), TASK)
    after, before = (
        chain_of(method, Target(sparsity=0.5), TASK) for method in (MagnitudeAfter(), MagnitudeBefore())
    )
    chains = [dense, after, before]
    trained, pruned, again = (link.digest for link in after.links)
    masked, only = (link.digest for link in before.links)
    two = Schedule.of(remaining(chains, set().__contains__), second(*chains), 2, Scheduler())
    # `after` with 20 steps begins first; `dense` waits for its first ten; `before` does not
    assert set(two.stage_runs) == {
        StageRun(trained, after.digest, 0, 10),
        StageRun(pruned, after.digest, 10, 10),
        StageRun(again, after.digest, 10, 20),
        StageRun(masked, before.digest, 0, 0),
        StageRun(only, before.digest, 0, 10),
    }
    assert (two.makespan, two.total, two.utilisation) == (20, 30, 0.75)
    left = Schedule.of(remaining(chains, {trained}.__contains__), second(*chains), 2, Scheduler())
    assert (left.makespan, left.total, left.utilisation) == (10, 20, 1)


def test_cells_that_share_a_training_wait_for_it_and_then_run_in_parallel() -> None:
    chains = [chain_of(MagnitudeAfter(), Target(sparsity=s), TASK) for s in (0.2, 0.5, 0.8)]
    three = Schedule.of(remaining(chains, set().__contains__), second(*chains), 3, Scheduler())
    assert (three.makespan, three.total) == (20, 40)
    assert three.utilisation == pytest.approx(40 / 60)


def test_more_workers_do_not_speed_up_the_rounds_of_lth() -> None:
    chains = [chain_of(LotteryTicket(), Target(sparsity=s), TASK) for s in SMC_GRID]
    alone, lengths = unshared(chains, second(*chains))
    for workers in (1, 2, 64):
        schedule = Schedule.of(remaining(chains, set().__contains__), second(*chains), workers, Scheduler())
        assert (schedule.makespan, schedule.total) == (110, 110)
    assert Schedule.of(alone, lengths, 1, Scheduler()).total == 10 * sum(range(2, 12))


def test_a_finished_grid_has_a_makespan_of_zero() -> None:
    chain = chain_of(MagnitudeAfter(), Target(sparsity=0.5), TASK)
    schedule = Schedule.of(
        remaining([chain], {chain.links[-1].digest}.__contains__), second(chain), 8, Scheduler()
    )
    assert (schedule.stage_runs, schedule.makespan, schedule.utilisation) == ((), 0.0, 1.0)


def test_lengths_sum_to_the_seconds_of_the_plan_and_leave_out_unknown_rates() -> None:
    chains = [chain_of(MagnitudeAfter(), Target(sparsity=s), TASK) for s in (0.5, 0.8)]
    plan = Plan.of(chains, set[str]().__contains__, given=(DeviceRate(seconds=3.0),))
    assert sum(plan.lengths().values()) == plan.seconds == 90.0
    trained, pruned, again = (link.digest for link in chains[0].links)
    known = Plan.of(chains, set[str]().__contains__).lengths()
    assert (trained in known, known[pruned], again in known) == (False, 0.0, False)
