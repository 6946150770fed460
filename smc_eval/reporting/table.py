"""The table as data: rows, columns and what stands in each square, computed from records alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import CellValue, FindItems, decimals, make_cell_value
from smc_eval.store.record import Record

ANY = "*"
"""Value of a facet on which nothing depends: the distribution of an N:M pattern; distribution, scope and
budget of a dense net; the data of a cell that read none."""

RowKey = tuple[str, tuple[tuple[str, Any], ...]]
"""A row within its task and model: the method, and whatever else sets it apart from other rows."""


@dataclass(frozen=True)
class TableRow:
    """One method on one task with one model."""

    task: str
    model: str
    method: str
    """With whatever sets it apart from other rows of the same method: `lth (erk, epochs=2)`."""
    cell_values: tuple[CellValue, ...]
    """One for each column."""


@dataclass(frozen=True)
class Table:
    """What a screen or a file shows of many records."""

    columns: tuple[str, ...]
    """`dense`, sparsities from low to high, N:M patterns; only what occurs."""
    rows: tuple[TableRow, ...]
    """Those of a task and model stand together."""
    records: tuple[Record, ...]
    """What the rows were made of."""
    results: tuple[Record, ...]
    """What was given, in its order: also those of which a later one is of the very same cell."""

    @property
    def repeated(self) -> int:
        """How many records were left out."""
        return len(self.results) - len(self.records)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model, in order of appearance."""
        return tuple(dict.fromkeys(row.model for row in self.rows))

    @property
    def heads(self) -> tuple[str, ...]:
        """Fields of a row that name it; the model is one where there are several."""
        return ("task", "model", "method") if len(self.models) > 1 else ("task", "method")


def table_of(results: Sequence[Record], look: FindItems | None = None) -> Table:
    """The table of records in any order; of two records of one cell the later counts.

    `look` finds the items of a record: with them, intervals tell of seeds and items both.
    """
    records = distinct(results)
    names = column_names(records)
    columns = tuple(dict.fromkeys(names.values()))
    apart = _varying(records, ("protocol", "scope", "distribution"))
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.task, record.model), []).append(record)
    rows = [
        row
        for group in groups.values()
        for row in _grouped(group, [names[sparsity_key(record)] for record in group], columns, apart, look)
    ]
    return Table(columns, tuple(rows), records, tuple(results))


def distinct(results: Iterable[Record]) -> tuple[Record, ...]:
    """Of several records of the very same cell the latest: a dense net has one for every scope asked."""
    return tuple({_identity(result): result for result in results}.values())


def facets(result: Record) -> dict[str, Any]:
    """Everything by which two records of one task, model and method may differ and not be averaged."""
    match = result.match
    dense, free = result.method == DENSE, result.target.pattern == "free"
    return {
        "protocol": result.protocol,
        "scope": ANY if dense else result.target.scope,
        "distribution": result.target.distribution if free and not dense else ANY,
        "include": ANY if dense else ", ".join(result.target.include) or None,
        "exclude": ANY if dense else ", ".join(result.target.exclude) or None,
        "data": result.data.source if result.data.digest else ANY,
        "limit": result.data.limited,
        "match": ANY if dense else match and match.measure,
        **{name: f"{n:g}" if (n := getattr(match, name, 1)) != 1 else None for name in ("factor", "inside")},
        **{name: json.dumps(v) if isinstance(v, tuple) else v for name, v in result.recipe},
    }


def _identity(result: Record) -> str:
    """Equal for records of one cell; their digests differ where data, model or release have changed."""
    place = (result.task, result.model, result.method, result.seed, result.fold)
    return json.dumps([place, sparsity_key(result), facets(result)], sort_keys=True, default=str)


def sparsity_key(result: Record) -> tuple[str, float]:
    """How sparse: method `dense`, or pattern, and a number free of rounding noise."""
    kind = DENSE if result.method == DENSE else result.target.pattern
    return kind, round(result.target.sparsity, 9)


def column_names(records: Iterable[Record]) -> dict[tuple[str, float], str]:
    """Names of the columns in their order: `dense`, numbers, patterns."""
    order = {DENSE: 0, "free": 1}
    levels = sorted(
        {sparsity_key(record) for record in records}, key=lambda at: (order.get(at[0], 2), at[1], at[0])
    )
    numbers = short_sparsities([sparsity for kind, sparsity in levels if kind == "free"])
    return {at: numbers[at[1]] if at[0] == "free" else at[0] for at in levels}


def short_sparsities(sparsities: Sequence[float]) -> dict[float, str]:
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


def _varying(records: Iterable[Record], names: Iterable[str] | None = None) -> list[str]:
    """Those facets of which the records show more than one value."""
    seen: dict[str, set[str]] = {}
    for record in records:
        for name, value in facets(record).items():
            if value != ANY:
                seen.setdefault(name, set()).add(repr(value))
    return [name for name in (names or seen) if len(seen.get(name, ())) > 1]


def _grouped(
    group: Sequence[Record],
    names: Sequence[str],
    columns: Sequence[str],
    apart: Sequence[str],
    look: FindItems | None,
) -> list[TableRow]:
    """The rows of one task and model; `names` are the columns of its records."""
    apart = list(dict.fromkeys([*apart, *_varying(group)]))
    rows: dict[RowKey, dict[str, list[Record]]] = {}

    def vague(number: int) -> int:  # what fits into several rows waits until these are there
        return 2 if names[number] == DENSE else int(ANY in facets(group[number]).values())

    for number in sorted(range(len(group)), key=vague):
        record, found = group[number], facets(group[number])
        own: RowKey = record.method, tuple((name, found.get(name)) for name in apart)
        hosts = [key for key in rows if _fits(own, key)] if vague(number) else [own]
        for key in hosts or [own]:
            rows.setdefault(key, {}).setdefault(names[number], []).append(record)
    digits = decimals(group)
    made: dict[tuple[int, ...], CellValue] = {}  # a dense net stands in every row, and is reckoned with once

    def square(records: Sequence[Record]) -> CellValue:
        key = tuple(map(id, records))
        if key not in made:
            made[key] = make_cell_value(records, group, digits, look)
        return made[key]

    squares = {
        key: [square(row[name]) if name in row else CellValue("missing") for name in columns]
        for key, row in rows.items()
    }
    _mark_best(list(squares.values()), columns, group)
    task, model = group[0].task, group[0].model
    return [TableRow(task, model, _label(key), tuple(cell_values)) for key, cell_values in squares.items()]


def _fits(own: RowKey, row: RowKey) -> bool:
    """Whether a record belongs into a row, where ANY agrees with everything."""
    same = own[0] in {DENSE, row[0]}
    return same and all(a in {ANY, b} for (_, a), (_, b) in zip(own[1], row[1], strict=True))


def _label(key: RowKey) -> str:
    method, apart = key
    plain = ("protocol", "scope", "distribution", "data")
    words = [
        str(value) if name in plain else f"{name}={value}"
        for name, value in apart
        if value is not None and value != ANY
    ]
    return f"{method} ({', '.join(words)})" if words else method


def _mark_best(rows: Sequence[list[CellValue]], columns: Sequence[str], group: Iterable[Record]) -> None:
    """Mark, in each column but dense, the best of the whole and sound numbers, if there are several."""
    higher = next((record.score.higher_is_better for record in group if record.score), True)
    for at, column in enumerate(columns):
        whole = [row[at].value for row in rows if row[at].state == "ok" and not row[at].remarks]
        if column == DENSE or len(whole) < 2:
            continue
        best = max(whole) if higher else min(whole)
        for row in rows:
            if row[at].state == "ok" and not row[at].remarks and row[at].value == best:
                row[at] = replace(row[at], best=True)
