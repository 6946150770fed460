"""The table as data: rows, columns and what stands in each square, computed from records alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any, Literal

from smc_eval.results import Result
from smc_eval.score import pooled

DENSE = "dense"
"""The method that stands as a column beside all others, and not as a row."""

ANY = "*"
"""Spread of an N:M pattern, spread and scope of a dense net: nothing depends on them."""

OFF = 1e-3
"""How far reached sparsity may lie from what was asked before a square says so."""

Key = tuple[str, tuple[tuple[str, Any], ...]]
"""A row within its task and model: the method, and whatever else sets it apart from other rows."""


@dataclass(frozen=True)
class Entry:
    """What stands in one square."""

    state: Literal["ok", "doubt", "failed", "skipped", "missing"]
    """`doubt`: a certificate failed. `skipped`: the method cannot. `missing`: there is no record."""
    value: float = math.nan
    """Folds pooled within each seed, then the mean over seeds."""
    deviation: float | None = None
    """Sample standard deviation over seeds; None for a single one."""
    decimals: int = 1
    remarks: tuple[str, ...] = ()
    """What else must be known of the number: missing folds or seeds, sparsity that was missed."""
    best: bool = False
    """Whether no other method of its task and model does better at this sparsity."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Further numbers of the same nets, pooled alike."""
    reached: Mapping[str, float] = field(default_factory=dict)
    """Mean sparsity over each of the denominators."""
    seconds: float = 0.0
    """What these nets cost altogether."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The square in a narrow column: number, deviation, remarks."""
        match self.state:
            case "failed" | "missing" | "skipped":
                return ({"failed": "failed", "missing": "–", "skipped": "n/a"}[self.state],)
        number = f"{self.value:.{self.decimals}f}{'!' if self.state == 'doubt' else ''}"
        return (number, *self._deviation, *self.remarks)

    @property
    def text(self) -> str:
        """The square in one line: `81.2±0.4 (4/5 folds)`."""
        if self.state not in {"ok", "doubt"}:
            return self.lines[0]
        mark = "!" if self.state == "doubt" else ""
        number = f"{self.value:.{self.decimals}f}{''.join(self._deviation)}{mark}"
        return f"{number} ({', '.join(self.remarks)})" if self.remarks else number

    @property
    def _deviation(self) -> tuple[str, ...]:
        return () if self.deviation is None else (f"±{self.deviation:.{self.decimals}f}",)


@dataclass(frozen=True)
class Row:
    """One method on one task with one model."""

    task: str
    model: str
    method: str
    """With whatever sets it apart from other rows of the same method: `lth (erk, epochs=2)`."""
    entries: tuple[Entry, ...]
    """One for each column."""


@dataclass(frozen=True)
class Table:
    """What a screen or a file shows of many records."""

    columns: tuple[str, ...]
    """`dense`, sparsities from low to high, N:M patterns; only what occurs."""
    rows: tuple[Row, ...]
    """Those of a task and model stand together."""
    records: tuple[Result, ...]
    """What the rows were made of."""
    repeated: int
    """Records left out, since a later one is of the very same cell."""

    @property
    def models(self) -> tuple[str, ...]:
        """Every model, in order of appearance."""
        return tuple(dict.fromkeys(row.model for row in self.rows))


def tabulated(results: Sequence[Result]) -> Table:
    """The table of records in any order; of two records of one cell the later counts."""
    records = tuple({_identity(result): result for result in results}.values())
    names = _named(records)
    columns = tuple(dict.fromkeys(names.values()))
    apart = _varying(records, ("protocol", "scope", "spread"))
    groups: dict[tuple[str, str], list[Result]] = {}
    for record in records:
        groups.setdefault((record.task, record.model), []).append(record)
    rows = [
        row
        for group in groups.values()
        for row in _grouped(group, [names[_level(record)] for record in group], columns, apart)
    ]
    return Table(columns, tuple(rows), records, len(results) - len(records))


def facets(result: Result) -> dict[str, Any]:
    """Everything by which two records of one task, model and method may differ and not be averaged."""
    dense, free = result.method == DENSE, result.target["pattern"] == "free"
    return {
        "protocol": result.protocol,
        "scope": ANY if dense else result.target["scope"],
        "spread": result.target["spread"] if free and not dense else ANY,
        "data": result.data.get("source"),
        "limit": result.data.get("limited"),
        **result.recipe,
    }


def _identity(result: Result) -> str:
    """Equal for records of one cell; their digests differ where data, model or release have changed."""
    place = (result.task, result.model, result.method, result.seed, result.fold)
    return json.dumps([place, _level(result), facets(result)], sort_keys=True, default=str)


def _level(result: Result) -> tuple[str, float]:
    """How sparse: method `dense`, or pattern, and a number free of rounding noise."""
    kind = DENSE if result.method == DENSE else result.target["pattern"]
    return kind, round(result.target["sparsity"], 9)


def _named(records: Iterable[Result]) -> dict[tuple[str, float], str]:
    """Names of the columns in their order: `dense`, numbers, patterns."""
    order = {DENSE: 0, "free": 1}
    levels = sorted({_level(record) for record in records}, key=lambda it: (order.get(it[0], 2), it[1], it[0]))
    numbers = short([sparsity for kind, sparsity in levels if kind == "free"])
    return {level: numbers[level[1]] if level[0] == "free" else level[0] for level in levels}


def short(sparsities: Sequence[float]) -> dict[float, str]:
    """Sparsities with three decimals, or as many more as it takes to tell them from 1 and each other."""

    def written(sparsity: float, digits: int) -> str:
        return f"{sparsity:.{digits}f}".rstrip("0").rstrip(".")

    def digits(sparsity: float) -> int:
        least = max(3, 1 + math.ceil(-math.log10(1 - sparsity)))
        others = [other for other in sparsities if other != sparsity]
        for count in range(least, 9):
            if all(written(other, count) != written(sparsity, count) for other in others):
                return count
        return 9

    return {sparsity: written(sparsity, digits(sparsity)) for sparsity in sparsities}


def _varying(records: Iterable[Result], names: Iterable[str] | None = None) -> list[str]:
    """Those facets of which the records show more than one value."""
    seen: dict[str, set[str]] = {}
    for record in records:
        for name, value in facets(record).items():
            if value != ANY:
                seen.setdefault(name, set()).add(repr(value))
    return [name for name in (names or seen) if len(seen.get(name, ())) > 1]


def _grouped(
    group: Sequence[Result], names: Sequence[str], columns: Sequence[str], apart: Sequence[str]
) -> list[Row]:
    """The rows of one task and model; `names` are the columns of its records."""
    apart = list(dict.fromkeys([*apart, *_varying(group)]))
    rows: dict[Key, dict[str, list[Result]]] = {}

    def vague(number: int) -> int:  # what fits into several rows waits until these are there
        found = facets(group[number])
        return (names[number] == DENSE) * 2 + (found["spread"] == ANY)

    for number in sorted(range(len(group)), key=vague):
        record, found = group[number], facets(group[number])
        own: Key = record.method, tuple((name, found.get(name)) for name in apart)
        hosts = [key for key in rows if _fits(own, key)] if vague(number) else [own]
        for key in hosts or [own]:
            rows.setdefault(key, {}).setdefault(names[number], []).append(record)
    decimals = _decimals(group)
    squares = {
        key: [_entry(row[column], group, decimals) if column in row else Entry("missing") for column in columns]
        for key, row in rows.items()
    }
    _mark_best(list(squares.values()), columns, group)
    task, model = group[0].task, group[0].model
    return [Row(task, model, _label(key), tuple(entries)) for key, entries in squares.items()]


def _fits(own: Key, row: Key) -> bool:
    """Whether a record belongs into a row, where ANY agrees with everything."""
    same = own[0] in {DENSE, row[0]}
    return same and all(a in {ANY, b} for (_, a), (_, b) in zip(own[1], row[1], strict=True))


def _label(key: Key) -> str:
    method, apart = key
    plain = ("protocol", "scope", "spread", "data")
    words = [
        str(value) if name in plain else f"{name}={value}"
        for name, value in apart
        if value is not None and value != ANY
    ]
    return f"{method} ({', '.join(words)})" if words else method


def _decimals(group: Iterable[Result]) -> int:
    """One decimal, or three for a metric that stays within one, as a correlation does."""
    scores = [record.score for record in group if record.score]
    within = all(abs(score["value"]) <= 1 and "%" not in score["metric"] for score in scores)
    return 3 if scores and within else 1


def _entry(records: Sequence[Result], group: Sequence[Result], decimals: int) -> Entry:
    """One square from the records of its seeds and folds; what is not certified enters no mean."""
    sound = [record for record in records if record.sound]
    told = sound or [record for record in records if record.status == "ok"]
    if not told:
        return Entry("failed" if any(record.status == "failed" for record in records) else "skipped")
    seeds: dict[int, list[Result]] = {}
    for record in told:
        seeds.setdefault(record.seed, []).append(record)
    values = [_pooled(folds, lambda record: _score(record)["value"]) for folds in seeds.values()]
    also = list(dict.fromkeys(name for record in told for name in _score(record).get("also", {})))
    return Entry(
        "ok" if all(record.sound for record in records if record.status == "ok") else "doubt",
        fmean(values),
        stdev(values) if len(values) > 1 else None,
        decimals,
        tuple(_remarks(told, seeds, group)),
        also={name: _mean_of_those_with(name, told) for name in also},
        reached={name: fmean(r.sparsity[name] for r in told) for name in told[0].sparsity},
        seconds=sum(sum(record.cost.get("seconds", {}).values()) for record in told),
    )


def _score(record: Result) -> dict[str, Any]:
    assert record.score is not None
    return record.score


def _pooled(folds: Sequence[Result], number: Callable[[Result], float]) -> float:
    return pooled([number(record) for record in folds], [max(1, _score(record)["n"]) for record in folds])


def _mean_of_those_with(name: str, told: Sequence[Result]) -> float:
    """A further number over folds and seeds; folds weigh as in the score, for want of their own counts."""
    having = [record for record in told if name in _score(record).get("also", {})]
    return _pooled(having, lambda record: _score(record)["also"][name])


def _remarks(told: Sequence[Result], seeds: Mapping[int, object], group: Sequence[Result]) -> Iterable[str]:
    """What is missing of a square that its task and model have elsewhere, and where it missed its target."""
    all_seeds, all_folds = ({getattr(record, name) for record in group} for name in ("seed", "fold"))
    if len(seeds) < len(all_seeds):
        yield f"{len(seeds)}/{len(all_seeds)} seeds"
    if len(told) < (folds := len(seeds) * len(all_folds)):
        yield f"{len(told)}/{folds} folds"
    asked = told[0].target["sparsity"]
    reached = [record.sparsity["scope"] for record in told if "scope" in record.sparsity]
    furthest = max(reached, key=lambda sparsity: abs(sparsity - asked), default=asked)
    if abs(furthest - asked) > OFF:
        yield f"@{furthest:.3f}"


def _mark_best(rows: Sequence[list[Entry]], columns: Sequence[str], group: Iterable[Result]) -> None:
    """Mark, in each column but dense, the best of the whole and sound numbers, if there are several."""
    higher = next((record.score["higher_is_better"] for record in group if record.score), True)
    for at, column in enumerate(columns):
        whole = [row[at].value for row in rows if row[at].state == "ok" and not row[at].remarks]
        if column == DENSE or len(whole) < 2:
            continue
        best = max(whole) if higher else min(whole)
        for row in rows:
            if row[at].state == "ok" and not row[at].remarks and row[at].value == best:
                row[at] = replace(row[at], best=True)
