"""The agenda: which cell to carry out next, the longest way first, and nothing that another is at already."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from smc_eval.experiment.cell import Chain
from smc_eval.planning.plan import Rates, stages_owed, steps_of

UNKNOWN_RATE = 1.0
"""Seconds of a step of a task and model that no record tells of, where none tells of any."""


@dataclass(frozen=True)
class Scheduler:
    """The order of work. Pure: what is finished and who is at work, it is told.

    A cell is ready if nobody works on a stage that it still needs: what many need is carried out
    once, by the one with the longest way to go, while others take up what does not need it.
    """

    rates: Rates = field(default_factory=dict)

    def next(
        self,
        waiting: Iterable[Chain],
        working: Iterable[Chain],
        finished: AbstractSet[str],
        held: AbstractSet[str] = frozenset(),
    ) -> Chain | None:
        """The cell to begin now; None if all that wait need what is worked on.

        `working` are the cells that somebody is at, `finished` the nets in the store, and `held`
        whatever else somebody holds, cells and stages, by digest.
        """
        busy = set(held)
        for chain in working:
            busy |= {chain.digest} | stages_owed(chain, finished.__contains__)
        best: Chain | None = None
        longest = -1.0
        for chain in waiting:
            todo = stages_owed(chain, finished.__contains__)
            if chain.digest in busy or todo & busy:
                continue
            if (length := self.seconds(chain, todo)) > longest:  # the first of equals
                best, longest = chain, length
        return best

    def seconds(self, chain: Chain, todo: Collection[str]) -> float:
        """How long the stages that a cell still needs take, as far as can be told."""
        count = sum(steps_of(link.stage, chain.examples) for link in chain.links if link.digest in todo)
        return count * self.rate(chain)

    def rate(self, chain: Chain) -> float:
        """Seconds of a step of a cell's task and model; the mean of what is known where they are not."""
        task = chain.cell.task
        known = self.rates.get((task.label, task.backbone))
        if known is not None:
            return known
        return sum(self.rates.values()) / len(self.rates) if self.rates else UNKNOWN_RATE
