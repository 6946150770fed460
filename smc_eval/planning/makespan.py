"""The makespan: how long so many workers take over a grid, when each cell is begun as the agenda says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from smc_eval.experiment.cell import Chain, Link
from smc_eval.planning.plan import stages_owed, steps_of
from smc_eval.planning.scheduler import Scheduler

Lengths = Mapping[str, float]
"""Seconds of stages, by digest."""


@dataclass(frozen=True)
class RemainingStages:
    """What a cell still has to go: the stages that it needs and that are not finished, in order."""

    chain: Chain
    links: tuple[Link, ...]

    def seconds(self, lengths: Lengths) -> float:
        """How long it takes one worker."""
        return sum(lengths[link.digest] for link in self.links)

    def steps(self, link: Link) -> int:
        """Optimizer steps of a stage."""
        return steps_of(link.stage, self.chain.examples)


@dataclass(frozen=True)
class StageRun:
    """A stage at work, from when to when, on behalf of a cell."""

    digest: str
    cell: str
    begin: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """What so many workers do when, in seconds of training: pruning and scoring count for nothing."""

    workers: int
    spells: tuple[StageRun, ...]

    @classmethod
    def of(
        cls, ways: Sequence[RemainingStages], lengths: Lengths, workers: int, scheduler: Scheduler
    ) -> Schedule:
        """The schedule of workers none of whom rests while the agenda has a cell that is ready."""
        return cls(workers, tuple(Simulation(ways, lengths, scheduler).run(workers)))

    @property
    def total(self) -> float:
        """Seconds of all stages: what one worker takes."""
        return sum(spell.end - spell.begin for spell in self.spells)

    @property
    def makespan(self) -> float:
        """Seconds until the last stage ends."""
        return max((spell.end for spell in self.spells), default=0.0)

    @property
    def utilisation(self) -> float:
        """The share of the time at which a worker is at work; 1 where there is nothing to do."""
        return min(1.0, self.total / (self.workers * self.makespan)) if self.makespan else 1.0


class Simulation:
    """Workers in made-up time, and what each cell that waits still needs.

    The order is that of `Agenda.next`, but kept up to date and not told anew each time: a way gets
    shorter only while it is blocked, as whoever carries out a stage of it has that stage in hand.
    """

    def __init__(self, ways: Sequence[RemainingStages], lengths: Lengths, scheduler: Scheduler) -> None:
        self.ways, self.lengths = ways, lengths
        self.rates = [scheduler.rate(way.chain) for way in ways]
        self.left = [sum(way.steps(link) for link in way.links) for way in ways]
        """Optimizer steps of each way."""
        self.blocked = [0] * len(ways)
        """How many stages of each way are in somebody's hands."""
        self.passing = dict[str, list[int]]()
        """The ways through each stage that is not finished."""
        for number, way in enumerate(ways):
            for link in way.links:
                self.passing.setdefault(link.digest, []).append(number)
        self.waiting = set(range(len(ways)))
        self.ready = list[tuple[float, int]]()
        """The longest first, and of equals the first; holds some that are so no longer."""
        for number in self.waiting:
            self._call(number)

    def run(self, workers: int) -> Iterator[StageRun]:
        """Every stage once, as it ends."""
        going, at, now = dict[int, list[Link]](), list[tuple[float, int, float]](), 0.0

        def onward(number: int) -> None:
            if links := going[number]:
                heappush(at, (now + self.lengths[links[0].digest], number, now))

        while True:
            while len(at) < workers and (number := self._next()) is not None:
                going[number] = self._begin(number)
                onward(number)
            if not at:
                return
            now = at[0][0]
            while at and at[0][0] == now:  # all of a moment, before anybody takes up a cell
                _, number, began = heappop(at)
                link = going[number].pop(0)
                self._finish(number, link)
                yield StageRun(link.digest, self.ways[number].chain.digest, began, now)
                onward(number)

    def _next(self) -> int | None:
        """The way that the agenda has next; it waits no longer."""
        while self.ready:
            rank, number = heappop(self.ready)
            if number in self.waiting and not self.blocked[number] and rank == self._rank(number):
                self.waiting.remove(number)
                return number
        return None

    def _begin(self, number: int) -> list[Link]:
        """Take in hand what is left of a way."""
        links = [link for link in self.ways[number].links if link.digest in self.passing]
        for link in links:
            for other in self.passing[link.digest]:
                self.blocked[other] += 1
        return links

    def _finish(self, number: int, link: Link) -> None:
        count = self.ways[number].steps(link)
        for other in self.passing.pop(link.digest):
            self.blocked[other] -= 1
            self.left[other] -= count
            if other in self.waiting and not self.blocked[other]:
                self._call(other)

    def _call(self, number: int) -> None:
        heappush(self.ready, (self._rank(number), number))

    def _rank(self, number: int) -> float:
        return -self.left[number] * self.rates[number]


def remaining(chains: Iterable[Chain], finished: Callable[[str], bool]) -> list[RemainingStages]:
    """What each cell still has to go in a store that holds the nets that are `finished`."""
    found = list[RemainingStages]()
    for chain in chains:
        todo = stages_owed(chain, finished)
        found.append(RemainingStages(chain, tuple(link for link in chain.links if link.digest in todo)))
    return found


def unshared(chains: Iterable[Chain], lengths: Lengths) -> tuple[list[RemainingStages], Lengths]:
    """The ways and lengths of cells that share nothing, each from its start on."""
    found, apart = list[RemainingStages](), dict[str, float]()
    for number, chain in enumerate(chains):
        links = tuple(replace(link, digest=f"{link.digest} {number}") for link in chain.links)
        found.append(RemainingStages(chain, links))
        for link, own in zip(chain.links, links, strict=True):
            apart[own.digest] = lengths[link.digest]
    return found, apart
