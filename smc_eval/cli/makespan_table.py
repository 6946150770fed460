"""The time that a grid takes with some numbers of workers, as `plan` prints it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from smc_eval.planning.makespan import Lengths, RemainingStages, Schedule, remaining, unshared
from smc_eval.planning.plan import Plan
from smc_eval.planning.scheduler import Scheduler

UNKNOWN_MAKESPAN = "makespan unknown: the hours of some task and model are unknown"


@dataclass(frozen=True)
class Makespans:
    """Schedules of one plan, and those of cells that share no stages, where they are known."""

    shared: tuple[Schedule, ...]
    naive: tuple[Schedule, ...]
    longest: RemainingStages | None
    critical: float
    """Seconds of the longest remaining chain: a lower bound for any number of workers."""

    @classmethod
    def of(cls, planned: Plan, finished: Callable[[str], bool], workers: Sequence[int]) -> Self | None:
        """The schedules of the stages to run; None if the rate of one is unknown.

        The order of cells is that of a run: by the rates that this store has measured, not by given rates.
        """
        lengths, scheduler = planned.lengths(), Scheduler(planned.rates)
        left = remaining((chain for chain in planned.chains if chain.digest not in planned.scored), finished)
        if not _known(left, lengths):
            return None
        longest = max(left, key=lambda cell: cell.seconds(lengths), default=None)
        naive = tuple[Schedule, ...]()
        if all(link.digest in lengths for chain in planned.chains for link in chain.links):
            cells, own_lengths = unshared(planned.chains, lengths)
            naive = tuple(Schedule.of(cells, own_lengths, count, scheduler) for count in workers)
        return cls(
            tuple(Schedule.of(left, lengths, count, scheduler) for count in workers),
            naive,
            longest,
            longest.seconds(lengths) if longest else 0.0,
        )

    def document(self) -> dict[str, Any]:
        """The schedules as plain JSON values."""
        return {
            "critical_path": {
                "seconds": self.critical,
                "cell": self.longest.chain.cell.label if self.longest else None,
            },
            "workers": [
                {
                    "workers": schedule.workers,
                    "makespan": schedule.makespan,
                    "utilisation": schedule.utilisation,
                    "makespan_without_sharing": naive.makespan if naive else None,
                }
                for schedule, naive in self._rows()
            ],
        }

    def lines(self, time_text: Callable[[float], str]) -> Iterator[str]:
        """A row for each number of workers, and the critical path. `time_text` formats seconds."""
        rows = [("workers", "makespan", "utilisation", "without sharing")]
        for schedule, naive in self._rows():
            rows.append(
                (
                    f"{schedule.workers:,}",
                    time_text(schedule.makespan),
                    f"{schedule.utilisation:.1%}",
                    time_text(naive.makespan) if naive else "?",
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield ""
        for row in rows:
            yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        if self.longest:
            cell = self.longest.chain.cell.label
            yield f"critical path: {time_text(self.critical)}, the least for any number of workers ({cell})"

    def _rows(self) -> Iterator[tuple[Schedule, Schedule | None]]:
        yield from zip(self.shared, self.naive or [None] * len(self.shared), strict=True)


def _known(left: Sequence[RemainingStages], lengths: Lengths) -> bool:
    return all(link.digest in lengths for cell in left for link in cell.links)
