"""The makespan: the agenda's order, nobody idle for nothing, and no stage at work twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
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
from smc_eval.planning.plan import Plan, stages_owed
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
    """Chains that share what begins alike, and how long their stages take."""

    chains: Sequence[Chain]
    lengths: Lengths
    finished: frozenset[str]

    def schedule(self, workers: int) -> Schedule:
        return Schedule.of(self.ways, self.lengths, workers, Scheduler())

    @property
    def ways(self) -> list[RemainingStages]:
        return remaining(self.chains, self.finished.__contains__)

    @property
    def total(self) -> float:
        """Of all stages that are owed, each once."""
        todo = set().union(*(stages_owed(chain, self.finished.__contains__) for chain in self.chains))
        return sum(self.lengths[digest] for digest in todo)

    @property
    def critical(self) -> float:
        return max(
            sum(self.lengths[digest] for digest in stages_owed(chain, self.finished.__contains__))
            for chain in self.chains
        )


@st.composite
def cases(draw: Callable[..., Any], *, holes: bool = False) -> Case:
    """Chains of letters: what is spelled alike is shared, and an r goes back to the first stage.

    Steps, by which the agenda orders, and seconds have nothing to do with each other. Without `holes`
    a store that holds a net holds all that led there.
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


def told(case: Case, workers: int) -> set[StageRun]:
    """The same, asking `Agenda.next` anew for whoever has nothing to do."""
    waiting, done, now = {chain.digest: chain for chain in case.chains}, set(case.finished), 0.0
    at: list[tuple[Chain, list[str], float]] = []
    spells = set[StageRun]()
    while waiting or at:
        while waiting and len(at) < workers:
            chain = Scheduler().next(waiting.values(), [one for one, _, _ in at], done)
            if chain is None:
                break
            del waiting[chain.digest]
            todo = stages_owed(chain, done.__contains__)
            if todo:
                at.append((chain, [link.digest for link in chain.links if link.digest in todo], now))
        if not at:
            assert not waiting, "all wait for one another"
            return spells
        now = min(began + case.lengths[todo[0]] for _, todo, began in at)
        while ended := [one for one in at if one[2] + case.lengths[one[1][0]] == now]:
            chain, (digest, *after), began = ended[0]
            at.remove(ended[0])
            done.add(digest)
            spells.add(StageRun(digest, chain.digest, began, now))
            if after:
                at.append((chain, after, now))
    return spells


@given(cases(holes=True), st.integers(1, 6))
def test_cells_are_begun_just_as_the_agenda_says(case: Case, workers: int) -> None:
    assert set(case.schedule(workers).spells) == told(case, workers)


@given(cases(holes=True), st.integers(1, 6))
def test_every_stage_that_is_owed_is_at_work_once_and_after_those_before_it(case: Case, workers: int) -> None:
    spells = {spell.digest: spell for spell in case.schedule(workers).spells}
    assert len(spells) == len(case.schedule(workers).spells)
    for chain in case.chains:
        todo = [d for d in chain.digests() if d in stages_owed(chain, case.finished.__contains__)]
        assert all(spells[here].end <= spells[there].begin for here, there in pairwise(todo))


@given(cases(), st.integers(1, 6))
def test_no_more_are_at_work_than_there_are(case: Case, workers: int) -> None:
    spells = case.schedule(workers).spells
    for view in {spell.begin for spell in spells}:
        assert sum(spell.begin <= view < spell.end for spell in spells) <= workers


@given(cases(), st.integers(1, 6))
def test_nothing_is_faster_than_the_longest_chain_or_an_even_share(case: Case, workers: int) -> None:
    makespan = case.schedule(workers).makespan
    assert makespan >= max(case.critical, case.total / workers) - 1e-9


@given(cases(), st.integers(1, 6))
def test_nothing_is_slower_than_grahams_bound(case: Case, workers: int) -> None:
    # Graham (1966). It holds though a cell is begun as a whole: what two cells share is where both begin,
    # so whoever holds up a cell is at that very stage of its way, and does what it waits for
    bound = case.total / workers + (1 - 1 / workers) * case.critical
    assert case.schedule(workers).makespan <= bound + 1e-9


@given(cases(holes=True))
def test_one_worker_takes_the_total(case: Case) -> None:
    schedule = case.schedule(1)
    assert schedule.makespan == schedule.total == case.total
    assert schedule.utilisation == 1.0


@given(cases(), st.integers(1, 6))
def test_alone_every_cell_goes_all_its_way(case: Case, workers: int) -> None:
    apart, lengths = unshared(case.chains, case.lengths)
    schedule = Schedule.of(apart, lengths, workers, Scheduler())
    naive = [sum(case.lengths[link.digest] for link in chain.links) for chain in case.chains]
    assert schedule.total == sum(naive)
    assert Schedule.of(apart, lengths, len(naive), Scheduler()).makespan == max(naive)
    assert schedule.makespan >= max(*naive, sum(naive) / workers) - 1e-9


def second(*chains: Chain) -> dict[str, float]:
    """Lengths at a second a step."""
    return Plan.of(chains, set[str]().__contains__, given=(DeviceRate(seconds=1.0),)).lengths()


def test_a_tiny_table_is_scheduled_as_by_hand() -> None:
    dense = chain_of(Dense(), Target(), TASK)
    after, before = (
        chain_of(method, Target(sparsity=0.5), TASK) for method in (MagnitudeAfter(), MagnitudeBefore())
    )
    chains = [dense, after, before]
    trained, pruned, again = (link.digest for link in after.links)
    masked, only = (link.digest for link in before.links)
    two = Schedule.of(remaining(chains, set().__contains__), second(*chains), 2, Scheduler())
    # 20 steps of `after` go first; `dense` needs its first ten and waits; `before` does not
    assert set(two.spells) == {
        StageRun(trained, after.digest, 0, 10),
        StageRun(pruned, after.digest, 10, 10),
        StageRun(again, after.digest, 10, 20),
        StageRun(masked, before.digest, 0, 0),
        StageRun(only, before.digest, 0, 10),
    }
    assert (two.makespan, two.total, two.utilisation) == (20, 30, 0.75)
    left = Schedule.of(remaining(chains, {trained}.__contains__), second(*chains), 2, Scheduler())
    assert (left.makespan, left.total, left.utilisation) == (10, 20, 1)


def test_what_shares_one_training_waits_for_it_and_then_goes_side_by_side() -> None:
    chains = [chain_of(MagnitudeAfter(), Target(sparsity=s), TASK) for s in (0.2, 0.5, 0.8)]
    three = Schedule.of(remaining(chains, set().__contains__), second(*chains), 3, Scheduler())
    assert (three.makespan, three.total) == (20, 40)
    assert three.utilisation == pytest.approx(40 / 60)


def test_ten_lotteries_are_one_chain_whoever_helps() -> None:
    chains = [chain_of(LotteryTicket(), Target(sparsity=s), TASK) for s in SMC_GRID]
    apart, lengths = unshared(chains, second(*chains))
    for workers in (1, 2, 64):
        schedule = Schedule.of(remaining(chains, set().__contains__), second(*chains), workers, Scheduler())
        assert (schedule.makespan, schedule.total) == (110, 110)
    assert Schedule.of(apart, lengths, 1, Scheduler()).total == 10 * sum(range(2, 12))


def test_with_nothing_left_to_do_no_time_passes() -> None:
    chain = chain_of(MagnitudeAfter(), Target(sparsity=0.5), TASK)
    schedule = Schedule.of(
        remaining([chain], {chain.links[-1].digest}.__contains__), second(chain), 8, Scheduler()
    )
    assert (schedule.spells, schedule.makespan, schedule.utilisation) == ((), 0.0, 1.0)


def test_lengths_are_what_the_plan_is_priced_by_and_are_left_out_where_no_rate_is_known() -> None:
    chains = [chain_of(MagnitudeAfter(), Target(sparsity=s), TASK) for s in (0.5, 0.8)]
    plan = Plan.of(chains, set[str]().__contains__, given=(DeviceRate(seconds=3.0),))
    assert sum(plan.lengths().values()) == plan.seconds == 90.0
    trained, pruned, again = (link.digest for link in chains[0].links)
    known = Plan.of(chains, set[str]().__contains__).lengths()
    assert (trained in known, known[pruned], again in known) == (False, 0.0, False)
