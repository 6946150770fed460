"""One cell of the table: a number, its remarks, and the records that it was computed from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from smc_eval.score import Items, pooled
from smc_eval.store.record import Record, ScoreRecord, scores_by_seed

if TYPE_CHECKING:
    from smc_eval.statistics.interval import Interval
    from smc_eval.statistics.sample import Sample

FindItems = Callable[[str], Items | None]
"""Returns the items of a score by the digest of its record."""

SPARSITY_TOLERANCE = 1e-3
"""The largest difference between reached and requested sparsity that a cell does not mention."""

DISCONNECTED = "disconnected"
"""Remark for nets without a path of unpruned weights in scope from input to output. Weights outside the scope
may form one."""


@dataclass(frozen=True)
class CellValue:
    """The content of one table cell."""

    state: Literal["ok", "doubt", "failed", "skipped", "missing"]
    """`doubt`: a certificate failed. `skipped`: the method does not support it. `missing`: no record."""
    value: float = math.nan
    """Folds pooled within each seed, then the mean over seeds."""
    decimals: int = 1
    remarks: tuple[str, ...] = ()
    """Missing folds or seeds, another sparsity than requested, disconnected nets."""
    best: bool = False
    """Whether no other method of its task and model has a better score at this sparsity."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Further numbers of the same nets, pooled in the same way."""
    reached: Mapping[str, float] = field(default_factory=dict)
    """Mean sparsity over each of the three denominators."""
    seconds: float = 0.0
    """Total cost of these nets."""
    records: tuple[Record, ...] = field(default=(), repr=False, compare=False)
    """The records it was computed from; in state `doubt`, those that are shown."""
    find_items: FindItems | None = field(default=None, repr=False, compare=False)
    """Returns the items of a record's score."""

    @cached_property
    def sample(self) -> Sample | None:
        """Its seeds and items, or seeds alone if items are not stored; None for one seed without items."""
        from smc_eval.statistics.sample import Sample, ends_of  # loads numpy, which single seeds do not need

        sample = Sample.of(self.records, self.find_items) if self.find_items and self.records else None
        if sample is None and len(scores := scores_by_seed(self.records)) > 1:
            return Sample.of_seeds(scores, ends_of(self.records))
        return sample

    @cached_property
    def interval(self) -> Interval | None:
        """The 95 % confidence interval of the number, over the seeds and items of its sample.

        None without a sample, and if equal scores of all seeds would make it a point.
        """
        from smc_eval.statistics.interval import interval

        return interval(self.sample) if self.sample else None

    @cached_property
    def table_interval(self) -> Interval | None:
        """The interval that the table shows: none for a single seed, as it does not cover other seeds."""
        several = len({record.seed for record in self.records}) > 1
        return self.interval if several and self.interval and self.interval.finite else None

    @property
    def lines(self) -> tuple[str, ...]:
        """The cell in a narrow column: number, half of its interval, remarks."""
        match self.state:
            case "failed" | "missing" | "skipped":
                return ({"failed": "failed", "missing": "–", "skipped": "n/a"}[self.state],)
        number = f"{self.value:.{self.decimals}f}{'!' if self.state == 'doubt' else ''}"
        return (number, *self._half_interval, *self.remarks)

    @property
    def text(self) -> str:
        """The cell in one line: `81.2±0.4 (4/5 folds)`."""
        if self.state not in {"ok", "doubt"}:
            return self.lines[0]
        mark = "!" if self.state == "doubt" else ""
        number = f"{self.value:.{self.decimals}f}{''.join(self._half_interval)}{mark}"
        return f"{number} ({', '.join(self.remarks)})" if self.remarks else number

    @property
    def _half_interval(self) -> tuple[str, ...]:
        """The longer half: intervals are asymmetric near the ends of a scale."""
        if (interval := self.table_interval) is None:
            return ()
        half = max(interval.high - self.value, self.value - interval.low)
        return (f"±{half:.{self.decimals}f}",)


def decimals(records: Iterable[Record]) -> int:
    """One decimal; three for a metric with values in [-1, 1], such as a correlation."""
    scores = [record.score for record in records if record.score]
    within = all(abs(score.value) <= 1 and "%" not in score.metric for score in scores)
    return 3 if scores and within else 1


def make_cell_value(
    records: Sequence[Record], group: Sequence[Record], decimals: int, find_items: FindItems | None = None
) -> CellValue:
    """One cell from the records of its seeds and folds; `group` has those of its task and model.

    Records that are not certified enter the mean only if no record of the cell is certified.
    """
    sound = [record for record in records if record.sound]
    shown = sound or [record for record in records if record.status == "ok"]
    if not shown:
        return CellValue("failed" if any(record.status == "failed" for record in records) else "skipped")
    seeds = scores_by_seed(shown)
    also = list(dict.fromkeys(name for record in shown for name in _score(record).also))
    reached = [vars(record.sparsity) for record in shown if record.sparsity]
    return CellValue(
        "ok" if all(record.sound for record in records if record.status == "ok") else "doubt",
        fmean(seeds.values()),
        decimals,
        tuple(_remarks(shown, seeds, group)),
        also={name: _pooled_number(name, shown) for name in also},
        reached={name: fmean(shares[name] for shares in reached) for name in (reached[0] if reached else ())},
        seconds=sum(sum(vars(record.cost.seconds).values()) for record in shown if record.cost),
        records=tuple(shown),
        find_items=find_items,
    )


def _score(record: Record) -> ScoreRecord:
    assert record.score is not None
    return record.score


def _pooled_number(name: str, records: Sequence[Record]) -> float:
    """A further number over those folds and seeds that have it, weighted by their examples."""
    scores = [_score(record) for record in records if name in _score(record).also]
    counts = [score.also_n.get(name, score.n) for score in scores]
    return pooled([score.also[name] for score in scores], [max(1, count) for count in counts])


def _remarks(shown: Sequence[Record], seeds: Mapping[int, object], group: Sequence[Record]) -> Iterable[str]:
    """Missing seeds and folds that others of the group have, a missed target, disconnected nets."""
    all_seeds, all_folds = ({getattr(record, name) for record in group} for name in ("seed", "fold"))
    if len(seeds) < len(all_seeds):
        yield f"{len(seeds)}/{len(all_seeds)} seeds"
    if len(shown) < (folds := len(seeds) * len(all_folds)):
        yield f"{len(shown)}/{folds} folds"
    asked = shown[0].target.sparsity
    reached = [share for record in shown if (share := _reached(record)) is not None]
    furthest = max(reached, key=lambda sparsity: abs(sparsity - asked), default=asked)
    if abs(furthest - asked) > SPARSITY_TOLERANCE:
        yield f"@{furthest:.3f}"
    if count := sum(record.certificate.effective == 1 for record in shown if record.certificate):
        yield DISCONNECTED if count == len(shown) else f"{count}/{len(shown)} {DISCONNECTED}"


def _reached(record: Record) -> float | None:
    """The share that was pruned: of the heads or neurons where these are counted, else of the weights."""
    if record.certificate and (units := record.certificate.units):
        return 1 - units.remaining / units.total
    return record.sparsity.scope if record.sparsity else None
