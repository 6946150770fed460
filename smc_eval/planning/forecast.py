"""The forecast of a run: the seconds that its cells still take, by their prices and by what ended so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from smc_eval.experiment.cell import Chain
from smc_eval.planning.plan import stages_to_run, steps_of
from smc_eval.store.record import Record
from smc_eval.task import Task

Group = tuple[object, ...]
"""Cells whose prices are alike: the same task, model and method, or less."""


class RunningCell(NamedTuple):
    """A cell that runs now."""

    number: int
    """Its place among the chains, from 1."""
    elapsed: float
    """Seconds since it began."""
    trained: int = 0
    """Optimizer steps that it has done."""
    pace: float | None = None
    """Seconds of an optimizer step in the stage that trains now; None if none does, or before its first."""


@dataclass
class Mean:
    """A mean that grows: of seconds over steps, or of seconds over cells."""

    seconds: float = 0.0
    count: float = 0.0

    def add(self, seconds: float, count: float) -> None:
        """Take in `count` more steps or cells, which took so many seconds together."""
        self.seconds, self.count = self.seconds + seconds, self.count + count

    @property
    def value(self) -> float:
        """Seconds of one."""
        return self.seconds / self.count


@dataclass
class Prices:
    """Means by group. A group that nothing is known of has the price of the nearest wider group."""

    means: dict[Group, Mean] = field(default_factory=lambda: defaultdict(Mean))

    def add(self, chain: Chain, seconds: float, count: float) -> None:
        """Take in what a cell of this chain took."""
        for group in price_groups(chain):
            self.means[group].add(seconds, count)

    def of(self, chain: Chain) -> float | None:
        """The price for a chain; None if nothing is known at all."""
        known = (self.means[group] for group in price_groups(chain) if group in self.means)
        return next((mean.value for mean in known), None)

    def copy(self) -> Prices:
        """Prices that can be added to without a change of these."""
        same = Prices()
        same.means.update({group: Mean(mean.seconds, mean.count) for group, mean in self.means.items()})
        return same

    def __contains__(self, chain: Chain) -> bool:
        """Whether the task of a chain, with its model, is known itself."""
        return own_group(chain) in self.means


class Forecast:
    """The unfinished stages and cells of a run, and the prices of a step and of a cell.

    A stage that several cells need is counted once. A cell takes the seconds of its optimizer steps, and some
    more: it is built, pruned, predicted and certified. Both prices are means over the cells that ended in
    this run. A method without one has the mean of its task; a task without one that of the tasks of its
    kind, then that of its model, then that of all. Steps have their price in records of the store before any
    cell ends. Cells with a record cost nothing.
    """

    def __init__(
        self, chains: Sequence[Chain], finished: Callable[[str], bool], records: Iterable[Record] = ()
    ) -> None:
        """`finished` is whether the store has a net; `records` are those of the store."""
        self.chains = chains
        self.step_prices, self.cell_prices, self.earlier = Prices(), Prices(), Prices()
        stored = {record.digest: record for record in records if record.status == "ok"}
        self.ended = {n for n, chain in enumerate(chains, 1) if chain.digest in stored}
        for chain in chains:
            if record := stored.get(chain.digest):
                _add_steps(self.earlier, chain, record)
        self._add_like(stored.values())
        self.todo: dict[int, list[str]] = {}
        """The stages of each unfinished cell that a run would execute."""
        self.stages: dict[str, tuple[Chain, int]] = {}
        """Unfinished stages: a chain that needs it, and its steps."""
        self.users = Counter[str]()
        for number in self._left():
            chain = chains[number - 1]
            todo = stages_to_run(chain, finished)
            self.todo[number] = [link.digest for link in chain.links if link.digest in todo]
            for link in chain.links:
                if link.digest in todo:
                    self.users[link.digest] += 1
                    self.stages.setdefault(link.digest, (chain, steps_of(link.stage, chain.examples)))

    def steps(self, number: int) -> int:
        """Optimizer steps that a cell would do now."""
        return sum(self.stages[stage][1] for stage in self.todo.get(number, ()) if stage in self.stages)

    def end(self, number: int, record: Record, seconds: float | None = None, trained: int = 0) -> None:
        """A cell ended: after so many seconds and steps in this run; None if it was not run here."""
        chain = self.chains[number - 1]
        if number in self.ended:
            return
        self.ended.add(number)
        stages = self.todo.pop(number)
        self.users.subtract(stages)
        for stage in stages:
            if record.status == "ok" or self.users[stage] == 0:
                self.stages.pop(stage, None)
        if seconds is not None and record.status == "ok":
            _add_steps(self.step_prices, chain, record)
            price = self.step_prices.of(chain) if trained else 0.0
            self.cell_prices.add(chain, max(0.0, seconds - trained * (price or 0.0)), 1)

    def seconds_left(self, running: Sequence[RunningCell] = (), lanes: int = 1) -> float | None:
        """Seconds until the last cell ends, if so many lanes share the work evenly; None if unknown.

        It is at least what the longest unfinished cell still takes; one that needs a running stage waits for
        the cell that runs it.
        """
        prices = self._prices(running)
        if prices is None:
            return None
        step, cell = prices
        at_work = [one for one in running if one.number not in self.ended]
        own = [self._running_seconds(one, step, cell) for one in at_work]
        begun = {
            stage: left
            for one, left in zip(at_work, own, strict=True)
            for stage in self.todo[one.number]
            if stage in self.stages
        }
        waiting = self._left() - {one.number for one in at_work}
        alone = {stage: steps * step(chain) for stage, (chain, steps) in self.stages.items()}
        longest, total = max(own, default=0.0), sum(own)
        total += sum(seconds for stage, seconds in alone.items() if stage not in begun)
        for number in waiting:
            more, todo = cell(self.chains[number - 1]), self.todo[number]
            total += more
            rest = sum(alone.get(stage, 0.0) for stage in todo if stage not in begun)
            longest = max(longest, more + rest + max((begun.get(stage, 0.0) for stage in todo), default=0.0))
        return max(longest, total / max(1, lanes))

    def _running_seconds(self, one: RunningCell, step: Price, cell: Price) -> float:
        """Seconds that a running cell still takes."""
        chain, steps = self.chains[one.number - 1], self.steps(one.number)
        if one.pace is not None:
            return max(0, steps - one.trained) * step(chain) + cell(chain)
        return max(0.0, steps * step(chain) + cell(chain) - one.elapsed)

    def _prices(self, running: Sequence[RunningCell]) -> tuple[Price, Price] | None:
        """The prices of a step and of a cell, with the pace of trainings whose task is not known yet."""
        seen, earlier = self.step_prices, self.earlier
        paced = [one for one in running if one.pace is not None and one.trained]
        if new := [one for one in paced if self.chains[one.number - 1] not in seen]:
            seen = seen.copy()
            for one in new:
                seen.add(self.chains[one.number - 1], one.trained * (one.pace or 0.0), one.trained)
        if not seen.means and not earlier.means:
            return None

        def step(chain: Chain) -> float:
            first, second = (earlier, seen) if chain in earlier and chain not in seen else (seen, earlier)
            price = first.of(chain)
            return (second.of(chain) or 0.0) if price is None else price

        return step, lambda chain: self.cell_prices.of(chain) or 0.0

    def _add_like(self, records: Iterable[Record]) -> None:
        """Take in records of other grids, with the same tasks and models."""
        places = {own_group(chain): chain for chain in self.chains}
        digests = {chain.digest for chain in self.chains}
        for record in records:
            chain = places.get((record.task, record.model))
            if chain and record.digest not in digests:
                _add_steps(self.earlier, chain, record)

    def _left(self) -> set[int]:
        return set(range(1, len(self.chains) + 1)) - self.ended


Price = Callable[[Chain], float]
"""Seconds of a step, or of a cell without its steps."""


def price_groups(chain: Chain) -> Iterator[Group]:
    """The groups of a chain, the narrowest first."""
    task = chain.cell.task
    yield (*own_group(chain), chain.cell.method.label)
    yield own_group(chain)
    for kind in type(task).__mro__[1:]:
        if kind is Task:
            break
        yield kind, task.backbone
    yield (task.backbone,)
    yield ()


def own_group(chain: Chain) -> Group:
    """The group of a task with its model."""
    return chain.cell.task.label, chain.cell.task.backbone


def _add_steps(prices: Prices, chain: Chain, record: Record) -> None:
    """Take in the optimizer steps of a record, with those of stages that it shares."""
    cost = record.cost
    if cost and cost.steps and cost.seconds.train:
        prices.add(chain, cost.seconds.train, cost.steps)
