"""The scheduler: longest remaining chain first, no stage twice, no worker idle while a cell is ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st

from smc_eval.card import TaskCard
from smc_eval.experiment.cell import Chain, shared_nets, unneeded_nets
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.random import RandomAfter
from smc_eval.planning.plan import steps_of
from smc_eval.planning.scheduler import Scheduler
from smc_eval.target import SMC_GRID, Target
from smc_eval.testing import Toy, chain_of

LEVELS = SMC_GRID[:5]


class Slow(Toy):
    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"name": "slow"})


@cache
def all_chains() -> tuple[Chain, ...]:
    """A grid with forks at many depths, and with rewinds."""
    methods = (MagnitudeBefore(), MagnitudeAfter(), RandomAfter(), LotteryTicket(), TunedGmp())
    return tuple(
        chain
        for seed in (0, 1)
        for chain in [
            chain_of(Dense(), Target(), seed=seed),
            *(chain_of(method, Target(sparsity=s), seed=seed) for method in methods for s in LEVELS),
        ]
    )


@dataclass
class Simulated:
    """Workers in simulated time: one second per step, and a little for stages without steps."""

    chains: Sequence[Chain]
    workers: int
    now: float = 0.0
    finished: set[str] = field(default_factory=set)
    executed: Counter[str] = field(default_factory=Counter)
    ends: dict[str, float] = field(default_factory=dict)
    begun: list[Chain] = field(default_factory=list)
    busy: float = 0.0

    def run(self) -> None:
        scheduler, kept = Scheduler(), shared_nets(self.chains)
        waiting = {chain.digest: chain for chain in self.chains}
        at: dict[str, tuple[Chain, int, float]] = {}
        while waiting or at:
            while waiting and len(at) < self.workers:
                chain = scheduler.next(
                    waiting.values(), [chain for chain, _, _ in at.values()], self.finished
                )
                if chain is None:
                    assert at, "all cells wait for one another"
                    break
                del waiting[chain.digest]
                self.begun.append(chain)
                deepest = [n for n, link in enumerate(chain.links, 1) if link.digest in self.finished]
                at[chain.digest] = self._going(chain, max(deepest, default=0))
            digest = min(at, key=lambda digest: at[digest][2])
            chain, number, self.now = at.pop(digest)
            if number < len(chain.links):
                self._finish(chain, number, kept)
                at[digest] = self._going(chain, number + 1)
            else:
                self.ends[digest] = self.now
                if chain.links and chain.links[-1].digest not in kept:
                    self.finished.discard(chain.links[-1].digest)

    def _going(self, chain: Chain, number: int) -> tuple[Chain, int, float]:
        took = 0.01
        if number < len(chain.links):
            took += steps_of(chain.links[number].stage, chain.examples)
        self.busy += took
        return chain, number, self.now + took

    def _finish(self, chain: Chain, number: int, kept: frozenset[str]) -> None:
        link = chain.links[number]
        assert link.digest not in self.finished
        self.executed[link.digest] += 1
        self.finished.add(link.digest)
        if number and chain.links[number - 1].digest not in kept:
            self.finished.discard(chain.links[number - 1].digest)


@given(st.lists(st.sampled_from(all_chains()), min_size=1, unique_by=lambda c: c.digest), st.integers(1, 9))
def test_every_cell_ends_and_no_stage_runs_twice(chains: list[Chain], workers: int) -> None:
    simulation = Simulated(chains, workers)
    simulation.run()
    assert simulation.ends.keys() == {chain.digest for chain in chains}
    assert set(simulation.executed.values()) <= {1}


@given(st.lists(st.sampled_from(all_chains()), min_size=1, unique_by=lambda c: c.digest), st.integers(1, 9))
def test_no_grid_takes_longer_than_an_even_share_and_its_longest_chain(
    chains: list[Chain], workers: int
) -> None:
    # Graham (1966): workers that never rest while a cell is ready take no longer than both together
    simulation = Simulated(chains, workers)
    simulation.run()
    longest = max(
        sum(steps_of(link.stage, chain.examples) + 0.02 for link in chain.links) + 0.02 for chain in chains
    )
    assert simulation.now <= simulation.busy / workers + longest + 1e-6


def test_the_longest_chain_begins_first_and_lth_does_not_end_last() -> None:
    simulation = Simulated(all_chains(), 4)
    simulation.run()
    lths = [chain for chain in all_chains() if isinstance(chain.cell.method, LotteryTicket)]
    longest = max(lths, key=lambda chain: len(chain.links))
    assert len(simulation.begun[0].links) == len(longest.links)
    assert max(simulation.ends[chain.digest] for chain in lths) < simulation.now


def test_a_cell_waits_for_a_running_stage_that_it_needs_and_others_do_not() -> None:
    dense, after, before = (
        chain_of(Dense(), Target()),
        chain_of(MagnitudeAfter(), Target(sparsity=0.5)),
        chain_of(MagnitudeBefore(), Target(sparsity=0.5)),
    )
    scheduler, trained = Scheduler(), dense.links[0].digest
    assert scheduler.next([dense, after, before], [], set()) is after  # the longest of the three
    assert scheduler.next([dense, before], [after], set()) is before
    assert scheduler.next([dense], [after, before], set()) is None
    assert scheduler.next([dense], [after, before], {trained}) is dense


def test_cells_and_stages_that_others_hold_are_left_to_them() -> None:
    dense, after = chain_of(Dense(), Target()), chain_of(MagnitudeAfter(), Target(sparsity=0.5))
    scheduler, trained = Scheduler(), dense.links[0].digest
    assert scheduler.next([after, dense], [], set(), {trained}) is None
    assert (
        scheduler.next([after, dense], [], {trained}, {trained}) is after
    )  # it is finished, so the holder does not matter
    assert scheduler.next([after, dense], [], set(), {after.digest}) is dense


def test_a_slow_task_comes_before_a_fast_one_with_more_steps() -> None:
    few = chain_of(Dense(), Target(), Slow())
    many = chain_of(MagnitudeAfter(), Target(sparsity=0.5))
    assert Scheduler().next([few, many], [], set()) is many
    assert Scheduler({("slow", "tiny"): 9.0, ("toy", "tiny"): 1.0}).next([few, many], [], set()) is few
    assert (
        Scheduler({("slow", "tiny"): 9.0}).next([few, many], [], set()) is many
    )  # an unknown rate counts as the mean


def test_a_kept_net_is_unneeded_once_all_its_cells_are_done() -> None:
    chains = [
        chain_of(Dense(), Target()),
        *(chain_of(MagnitudeAfter(), Target(sparsity=s)) for s in (0.2, 0.5)),
    ]
    kept = shared_nets(chains)
    done: set[str] = set()
    for chain in chains:
        assert unneeded_nets(chains, kept, done) == set()
        done.add(chain.digest)
    assert unneeded_nets(chains, kept, done) == {chains[0].links[0].digest}
