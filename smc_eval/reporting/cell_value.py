"""One square of the table: a number, what must be known of it, and how it came from records."""

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
"""Finds what each example added to a score, by the digest of its record."""

SPARSITY_TOLERANCE = 1e-3
"""How far reached sparsity may lie from what was asked before a square says so."""

DISCONNECTED = "cut off"
"""What is said of nets of which no survivor lies on a path from inputs to outputs; weights outside the scope
may."""


@dataclass(frozen=True)
class CellValue:
    """What stands in one square."""

    state: Literal["ok", "doubt", "failed", "skipped", "missing"]
    """`doubt`: a certificate failed. `skipped`: the method cannot. `missing`: there is no record."""
    value: float = math.nan
    """Folds pooled within each seed, then the mean over seeds."""
    decimals: int = 1
    remarks: tuple[str, ...] = ()
    """What else must be known of the number: missing folds or seeds, another sparsity, nets cut off."""
    best: bool = False
    """Whether no other method of its task and model does better at this sparsity."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Further numbers of the same nets, pooled alike."""
    reached: Mapping[str, float] = field(default_factory=dict)
    """Mean sparsity over each of the denominators."""
    seconds: float = 0.0
    """What these nets cost altogether."""
    records: tuple[Record, ...] = field(default=(), repr=False, compare=False)
    """What it came from; of a square in doubt, those that are told."""
    look: FindItems | None = field(default=None, repr=False, compare=False)
    """Finds what each example added to them."""

    @cached_property
    def sample(self) -> Sample | None:
        """Its seeds and items, or seeds alone where items are not kept; None for one seed without any."""
        from smc_eval.statistics.sample import Sample  # numpy, which a table of single seeds needs not

        found = Sample.of(self.records, self.look) if self.look and self.records else None
        if found is None and len(values := scores_by_seed(self.records)) > 1:
            return Sample.of_seeds(values)
        return found

    @cached_property
    def interval(self) -> Interval | None:
        """Of the number, over what its sample has of seeds and items; None where nothing tells it, or
        where seeds that agree by chance would make it a point."""
        from smc_eval.statistics.interval import interval

        found = interval(self.sample) if self.sample else None
        return found if found and found.half else None

    @property
    def table_interval(self) -> Interval | None:
        """The interval that stands in the square: a single seed's would tell of no other seed."""
        return self.interval if len({record.seed for record in self.records}) > 1 else None

    @property
    def lines(self) -> tuple[str, ...]:
        """The square in a narrow column: number, how far its interval reaches, remarks."""
        match self.state:
            case "failed" | "missing" | "skipped":
                return ({"failed": "failed", "missing": "–", "skipped": "n/a"}[self.state],)
        number = f"{self.value:.{self.decimals}f}{'!' if self.state == 'doubt' else ''}"
        return (number, *self._half, *self.remarks)

    @property
    def text(self) -> str:
        """The square in one line: `81.2±0.4 (4/5 folds)`."""
        if self.state not in {"ok", "doubt"}:
            return self.lines[0]
        mark = "!" if self.state == "doubt" else ""
        number = f"{self.value:.{self.decimals}f}{''.join(self._half)}{mark}"
        return f"{number} ({', '.join(self.remarks)})" if self.remarks else number

    @property
    def _half(self) -> tuple[str, ...]:
        if (told := self.table_interval) is None:
            return ()
        # near the ends of a scale an interval is lopsided: what is told must not be less than it reaches
        reach = max(told.high - self.value, self.value - told.low)
        return (f"±{reach:.{self.decimals}f}",)


def decimals(group: Iterable[Record]) -> int:
    """One decimal, or three for a metric that stays within one, as a correlation does."""
    scores = [record.score for record in group if record.score]
    within = all(abs(score.value) <= 1 and "%" not in score.metric for score in scores)
    return 3 if scores and within else 1


def make_cell_value(
    records: Sequence[Record], group: Sequence[Record], decimals: int, look: FindItems | None = None
) -> CellValue:
    """One square from the records of its seeds and folds; what is not certified enters no mean."""
    sound = [record for record in records if record.sound]
    told = sound or [record for record in records if record.status == "ok"]
    if not told:
        return CellValue("failed" if any(record.status == "failed" for record in records) else "skipped")
    values = scores_by_seed(told)
    also = list(dict.fromkeys(name for record in told for name in _score(record).also))
    reached = [vars(record.sparsity) for record in told if record.sparsity]
    return CellValue(
        "ok" if all(record.sound for record in records if record.status == "ok") else "doubt",
        fmean(values.values()),
        decimals,
        tuple(_remarks(told, values, group)),
        also={name: _mean_of_those_with(name, told) for name in also},
        reached={name: fmean(of[name] for of in reached) for name in (reached[0] if reached else ())},
        seconds=sum(sum(vars(record.cost.seconds).values()) for record in told if record.cost),
        records=tuple(told),
        look=look,
    )


def _score(record: Record) -> ScoreRecord:
    assert record.score is not None
    return record.score


def _mean_of_those_with(name: str, told: Sequence[Record]) -> float:
    """A further number over folds and seeds, each weighing as many examples as it has."""
    scores = [_score(record) for record in told if name in _score(record).also]
    counts = [score.also_n.get(name, score.n) for score in scores]
    return pooled([score.also[name] for score in scores], [max(1, count) for count in counts])


def _remarks(told: Sequence[Record], seeds: Mapping[int, object], group: Sequence[Record]) -> Iterable[str]:
    """What is missing of a square that its task and model have elsewhere, where it missed its target, and
    which of its nets are cut off."""
    all_seeds, all_folds = ({getattr(record, name) for record in group} for name in ("seed", "fold"))
    if len(seeds) < len(all_seeds):
        yield f"{len(seeds)}/{len(all_seeds)} seeds"
    if len(told) < (folds := len(seeds) * len(all_folds)):
        yield f"{len(told)}/{folds} folds"
    asked = told[0].target.sparsity
    reached = [record.sparsity.scope for record in told if record.sparsity]
    furthest = max(reached, key=lambda sparsity: abs(sparsity - asked), default=asked)
    if abs(furthest - asked) > SPARSITY_TOLERANCE:
        yield f"@{furthest:.3f}"
    if count := sum(record.certificate.effective == 1 for record in told if record.certificate):
        yield DISCONNECTED if count == len(told) else f"{count}/{len(told)} {DISCONNECTED}"
