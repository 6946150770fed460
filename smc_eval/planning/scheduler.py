"""The scheduler: the next cell to run, longest remaining chain first, and no stage twice."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from smc_eval.experiment.cell import Chain
from smc_eval.planning.plan import Rates, stages_to_run, steps_of

UNKNOWN_RATE = 1.0
"""Seconds of a step if no record has trained any task."""

UNKNOWN_FIRST = 1e12
"""More seconds than any chain takes."""


@dataclass(frozen=True)
class Scheduler:
    """The order in which cells run. It has no state: callers pass the cells that run and the finished nets.

    A cell is ready if no stage that it still needs is running. So a shared stage runs once, with the cell
    whose remaining chain is longest, while cells that do not need it run beside it. Once some rates are
    known, a task without one comes first, with its shortest cell: before, neither the order nor the time
    left is known.
    """

    rates: Rates = field(default_factory=dict)

    def next(
        self,
        waiting: Iterable[Chain],
        working: Iterable[Chain],
        finished: AbstractSet[str],
        held: AbstractSet[str] = frozenset(),
    ) -> Chain | None:
        """The cell to begin now; None if every waiting cell needs a stage that is running.

        Args:
            waiting: cells that have not begun.
            working: cells that are running.
            finished: digests of the nets in the store.
            held: digests of cells and stages that other processes hold.
        """
        busy, known = set(held), set(self.rates)
        for chain in working:
            busy |= {chain.digest} | stages_to_run(chain, finished.__contains__)
            known.add((chain.cell.task.label, chain.cell.task.backbone))
        best: Chain | None = None
        longest = -math.inf
        for chain in waiting:
            todo = stages_to_run(chain, finished.__contains__)
            if chain.digest in busy or todo & busy:
                continue
            length = self.seconds(chain, todo)
            if self.rates and (chain.cell.task.label, chain.cell.task.backbone) not in known and length:
                length = UNKNOWN_FIRST - length  # before all others, the shortest first
            if length > longest:  # the first of equals
                best, longest = chain, length
        return best

    def seconds(self, chain: Chain, todo: Collection[str]) -> float:
        """Estimated seconds of the stages that a cell still needs."""
        count = sum(steps_of(link.stage, chain.examples) for link in chain.links if link.digest in todo)
        return count * self.rate(chain)

    def rate(self, chain: Chain) -> float:
        """Seconds of a step of a cell's task and model; if unknown, the mean of the known rates."""
        task = chain.cell.task
        known = self.rates.get((task.label, task.backbone))
        if known is not None:
            return known
        return sum(self.rates.values()) / len(self.rates) if self.rates else UNKNOWN_RATE
