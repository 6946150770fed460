"""How long a grid takes with so many workers, as `plan` prints it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from smc_eval.planning.makespan import Lengths, RemainingStages, Schedule, remaining, unshared
from smc_eval.planning.plan import Plan
from smc_eval.planning.scheduler import Scheduler

UNKNOWN_MAKESPAN = "unknown makespan: it takes the rates of all that is to be paid"


@dataclass(frozen=True)
class Makespans:
    """Schedules of one plan, beside those of cells that share nothing, where those are known."""

    shared: tuple[Schedule, ...]
    naive: tuple[Schedule, ...]
    longest: RemainingStages | None
    critical: float
    """Seconds of the longest way, which no number of workers is faster than."""

    @classmethod
    def of(cls, planned: Plan, finished: Callable[[str], bool], workers: Sequence[int]) -> Self | None:
        """The schedules of what is still to pay; None where no rate is known of some of it.

        The order is that of a run that begins now: by what this store has seen, not by given rates.
        """
        lengths, scheduler = planned.lengths(), Scheduler(planned.rates)
        left = remaining((chain for chain in planned.chains if chain.digest not in planned.scored), finished)
        if not _known(left, lengths):
            return None
        longest = max(left, key=lambda way: way.seconds(lengths), default=None)
        naive = tuple[Schedule, ...]()
        if all(link.digest in lengths for chain in planned.chains for link in chain.links):
            apart, own = unshared(planned.chains, lengths)
            naive = tuple(Schedule.of(apart, own, count, scheduler) for count in workers)
        return cls(
            tuple(Schedule.of(left, lengths, count, scheduler) for count in workers),
            naive,
            longest,
            longest.seconds(lengths) if longest else 0.0,
        )

    def document(self) -> dict[str, Any]:
        """The same, as plain JSON values."""
        return {
            "critical_path": {
                "seconds": self.critical,
                "cell": self.longest.chain.cell.label if self.longest else None,
            },
            "workers": [
                {
                    "workers": one.workers,
                    "makespan": one.makespan,
                    "utilisation": one.utilisation,
                    "makespan_naive": naive.makespan if naive else None,
                }
                for one, naive in self._rows()
            ],
        }

    def lines(self, spoken: Callable[[float], str]) -> Iterator[str]:
        """A row for each number of workers, and the longest way."""
        rows = [("workers", "makespan", "utilisation", "without sharing")]
        for one, naive in self._rows():
            rows.append(
                (
                    f"{one.workers:,}",
                    spoken(one.makespan),
                    f"{one.utilisation:.1%}",
                    spoken(naive.makespan) if naive else "?",
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield ""
        for row in rows:
            yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        if self.longest:
            whose = self.longest.chain.cell.label
            yield f"critical path: {spoken(self.critical)}, which no number of workers undercuts ({whose})"

    def _rows(self) -> Iterator[tuple[Schedule, Schedule | None]]:
        yield from zip(self.shared, self.naive or [None] * len(self.shared), strict=True)


def _known(left: Sequence[RemainingStages], lengths: Lengths) -> bool:
    return all(link.digest in lengths for way in left for link in way.links)
