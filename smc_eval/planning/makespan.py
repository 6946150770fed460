"""The makespan: how long some workers take for a grid, if cells begin in the order of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from smc_eval.experiment.cell import Chain, Link
from smc_eval.planning.plan import stages_to_run, steps_of
from smc_eval.planning.scheduler import Scheduler

Lengths = Mapping[str, float]
"""Seconds of stages, by digest."""


@dataclass(frozen=True)
class RemainingStages:
    """The stages that a cell still needs, in order."""

    chain: Chain
    links: tuple[Link, ...]

    def seconds(self, lengths: Lengths) -> float:
        """Seconds that one worker takes."""
        return sum(lengths[link.digest] for link in self.links)

    def steps(self, link: Link) -> int:
        """Optimizer steps of a stage."""
        return steps_of(link.stage, self.chain.examples)


@dataclass(frozen=True)
class StageRun:
    """A stage that runs for a cell, with its begin and end in seconds."""

    digest: str
    cell: str
    begin: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """The stage runs of some workers. Only training takes time; pruning and scoring take none."""

    workers: int
    stage_runs: tuple[StageRun, ...]

    @classmethod
    def of(
        cls, cells: Sequence[RemainingStages], lengths: Lengths, workers: int, scheduler: Scheduler
    ) -> Schedule:
        """The schedule of workers that never rest while a cell is ready."""
        return cls(workers, tuple(Simulation(cells, lengths, scheduler).run(workers)))

    @property
    def total(self) -> float:
        """Seconds of all stages, which is the makespan of one worker."""
        return sum(run.end - run.begin for run in self.stage_runs)

    @property
    def makespan(self) -> float:
        """Seconds until the last stage ends."""
        return max((run.end for run in self.stage_runs), default=0.0)

    @property
    def utilisation(self) -> float:
        """Mean share of the makespan in which a worker runs; 1 if there is nothing to run."""
        return min(1.0, self.total / (self.workers * self.makespan)) if self.makespan else 1.0


class Simulation:
    """Workers in simulated time, and the steps that each waiting cell still needs.

    The order is that of `Scheduler.next`, but updated instead of computed each time: the remaining steps of a
    cell fall only while it is blocked, because a running stage blocks every cell that needs it.
    """

    def __init__(self, cells: Sequence[RemainingStages], lengths: Lengths, scheduler: Scheduler) -> None:
        self.cells, self.lengths = cells, lengths
        self.rates = [scheduler.rate(cell.chain) for cell in cells]
        self.left = [sum(cell.steps(link) for link in cell.links) for cell in cells]
        """Remaining optimizer steps of each cell."""
        self.blocked = [0] * len(cells)
        """Number of running stages that each cell needs."""
        self.users = dict[str, list[int]]()
        """The cells that need each unfinished stage."""
        for number, cell in enumerate(cells):
            for link in cell.links:
                self.users.setdefault(link.digest, []).append(number)
        self.waiting = set(range(len(cells)))
        self.ready = list[tuple[float, int]]()
        """A heap: the longest first, and of equals the first. Some entries are out of date."""
        for number in self.waiting:
            self._queue(number)

    def run(self, workers: int) -> Iterator[StageRun]:
        """Every stage once, as it ends."""
        links_left, running, now = dict[int, list[Link]](), list[tuple[float, int, float]](), 0.0

        def run_next(number: int) -> None:
            if links := links_left[number]:
                heappush(running, (now + self.lengths[links[0].digest], number, now))

        while True:
            while len(running) < workers and (number := self._next()) is not None:
                links_left[number] = self._begin(number)
                run_next(number)
            if not running:
                return
            now = running[0][0]
            while running and running[0][0] == now:  # all that end now, before a worker begins a cell
                _, number, began = heappop(running)
                link = links_left[number].pop(0)
                self._finish(number, link)
                yield StageRun(link.digest, self.cells[number].chain.digest, began, now)
                run_next(number)

    def _next(self) -> int | None:
        """The next cell of the scheduler, which no longer waits; None if no cell is ready."""
        while self.ready:
            rank, number = heappop(self.ready)
            if number in self.waiting and not self.blocked[number] and rank == self._rank(number):
                self.waiting.remove(number)
                return number
        return None

    def _begin(self, number: int) -> list[Link]:
        """The remaining links of a cell, which now block all cells that need them."""
        links = [link for link in self.cells[number].links if link.digest in self.users]
        for link in links:
            for other in self.users[link.digest]:
                self.blocked[other] += 1
        return links

    def _finish(self, number: int, link: Link) -> None:
        count = self.cells[number].steps(link)
        for other in self.users.pop(link.digest):
            self.blocked[other] -= 1
            self.left[other] -= count
            if other in self.waiting and not self.blocked[other]:
                self._queue(other)

    def _queue(self, number: int) -> None:
        heappush(self.ready, (self._rank(number), number))

    def _rank(self, number: int) -> float:
        return -self.left[number] * self.rates[number]


def remaining(chains: Iterable[Chain], finished: Callable[[str], bool]) -> list[RemainingStages]:
    """The stages that each cell still needs; `finished` is whether the store has a net."""
    cells = list[RemainingStages]()
    for chain in chains:
        todo = stages_to_run(chain, finished)
        cells.append(RemainingStages(chain, tuple(link for link in chain.links if link.digest in todo)))
    return cells


def unshared(chains: Iterable[Chain], lengths: Lengths) -> tuple[list[RemainingStages], Lengths]:
    """All stages of each cell, and their lengths, as if cells shared no stages."""
    cells, own_lengths = list[RemainingStages](), dict[str, float]()
    for number, chain in enumerate(chains):
        links = tuple(replace(link, digest=f"{link.digest} {number}") for link in chain.links)
        cells.append(RemainingStages(chain, links))
        for link, own in zip(chain.links, links, strict=True):
            own_lengths[own.digest] = lengths[link.digest]
    return cells, own_lengths
