"""The table as data: rows, columns and cell values, computed from records alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from smc_eval.experiment.budget import Budget
from smc_eval.method import DENSE
from smc_eval.recipe import Recipe
from smc_eval.reporting.cell_value import CellValue, FindItems, decimals, make_cell_value
from smc_eval.spec import Outside
from smc_eval.store.record import Record
from smc_eval.target import level_text


class NoEffect(Enum):
    """Value of a facet that has no effect: the distribution of an N:M pattern; distribution, scope and budget
    of a dense net; the data of a cell that read none. No text equals it."""

    ANY = "any"


ANY = NoEffect.ANY
"""The value of a facet that has no effect."""

MOST_DIGITS = 18
"""Decimals that distinguish any two floats below 1, if they are close to 1."""

RowKey = tuple[str, tuple[tuple[str, Any], ...]]
"""A row within its task and model: the method, and the facets that separate it from other rows."""


class TableRow(NamedTuple):
    """One method on one task with one model."""

    task: str
    model: str
    method: str
    """With the facets that separate it from other rows of the method: `lth (erk, epochs=2)`."""
    cell_values: tuple[CellValue, ...]
    """One for each column."""


@dataclass(frozen=True)
class Table:
    """The content of the table, whatever format it is printed in."""

    columns: tuple[str, ...]
    """`dense`, sparsities in ascending order, N:M patterns; only those that occur."""
    rows: tuple[TableRow, ...]
    """Rows of one task and model are consecutive."""
    records: tuple[Record, ...]
    """The records that the rows were made of."""
    results: tuple[Record, ...]
    """All records that were passed in, in their order.

    They include earlier records of the same cells."""

    @property
    def repeated(self) -> int:
        """The number of records that were left out."""
        return len(self.results) - len(self.records)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model, in order of appearance."""
        return tuple(dict.fromkeys(row.model for row in self.rows))

    @property
    def heads(self) -> tuple[str, ...]:
        """Fields that name a row; the model is one of them if there are several models."""
        return ("task", "model", "method") if len(self.models) > 1 else ("task", "method")


def table_of(results: Sequence[Record], find_items: FindItems | None = None) -> Table:
    """The table of records in any order; of several records of one cell, the last one counts.

    With `find_items`, which returns the items of a record, intervals cover seeds and items.
    """
    records = distinct(results)
    names = column_names(records)
    columns = tuple(dict.fromkeys(names.values()))
    separating = _varying(records, ("protocol", "scope", "distribution"))
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.task, record.model), []).append(record)
    rows = [
        row
        for group in groups.values()
        for row in _group_rows(
            group, [names[sparsity_key(record)] for record in group], columns, separating, find_items
        )
    ]
    return Table(columns, tuple(rows), records, tuple(results))


def distinct(results: Iterable[Record]) -> tuple[Record, ...]:
    """The last record of each cell. A dense net has one record for each scope that was requested."""
    return tuple({_identity(result): result for result in results}.values())


class Setting(NamedTuple):
    """The parts of a record that its facets are made of."""

    dense: bool
    n_m: bool
    """Whether the target is an N:M pattern."""
    protocol: str
    scope: str
    distribution: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    data: str | NoEffect
    limit: int | None
    match: Budget | None
    kernels: str | None
    """None for dense kernels, which records do not name."""
    recipe: Recipe


def facets(result: Record) -> Mapping[str, Any]:
    """All values that records of one task, model and method must share to be averaged.

    Records with equal values have the same mapping; it is never changed.
    """
    target, data = result.target, result.data
    return _facets(
        Setting(
            result.method == DENSE,
            ":" in target.pattern,
            result.protocol,
            target.scope,
            target.distribution,
            target.include,
            target.exclude,
            data.source if data.digest else ANY,
            data.limited,
            result.match,
            "sparse" if result.kernels else None,
            result.recipe,
        )
    )


@lru_cache(maxsize=4096)
def _facets(own: Setting) -> Mapping[str, Any]:
    dense, match = own.dense, own.match
    return {
        "protocol": own.protocol,
        "scope": ANY if dense else own.scope,
        "distribution": ANY if dense or own.n_m else own.distribution,
        "include": ANY if dense else own.include or None,
        "exclude": ANY if dense else own.exclude or None,
        "data": own.data,
        "limit": own.limit,
        "match": ANY if dense else match and match.measure,
        "kernels": ANY if dense else own.kernels,
        **{name: f"{n:g}" if (n := getattr(match, name, 1)) != 1 else None for name in ("factor", "inside")},
        **{
            name: json.dumps(v) if isinstance(v, tuple) else v
            for name, v in own.recipe
            if name not in Recipe.marked(Outside)
        },
    }


def distinct_facets(records: Iterable[Record]) -> list[Mapping[str, Any]]:
    """The facets of records, once for all records that have the same, in order of appearance."""
    return list({id(own): own for own in map(facets, records)}.values())


def facet_text(value: Any) -> str:
    """The value of a facet as the table has it; patterns with commas between them."""
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _identity(result: Record) -> tuple[object, ...]:
    """Equal for records of one cell. Digests are not, if data, model or release have changed."""
    place = (result.task, result.model, result.method, result.seed, result.fold)
    return (*place, *sparsity_key(result), *facets(result).values())


def sparsity_key(result: Record) -> tuple[str, float]:
    """`dense` or the pattern, and the sparsity without rounding noise."""
    kind = DENSE if result.method == DENSE else result.target.pattern
    return kind, without_noise(result.target.sparsity)


def without_noise(sparsity: float) -> float:
    """A sparsity without rounding noise: to nine decimals, or to three digits of a density below 1e-6."""
    if sparsity >= 1:
        return 1.0
    return round(sparsity, max(9, 2 - math.floor(math.log10(1 - sparsity))))


def column_names(records: Iterable[Record]) -> dict[tuple[str, float], str]:
    """Names of the columns in their order: `dense`, numbers, patterns."""
    order = {DENSE: 0, "free": 1}
    keys = sorted(
        {sparsity_key(record) for record in records}, key=lambda key: (order.get(key[0], 2), key[1], key[0])
    )
    numbers = {kind: short_sparsities([s for other, s in keys if other == kind]) for kind, _ in keys}
    return {(kind, s): DENSE if kind == DENSE else level_text(kind, numbers[kind][s]) for kind, s in keys}


def short_sparsities(sparsities: Sequence[float]) -> dict[float, str]:
    """Sparsities with three decimals, or more where needed to differ from 1 and from each other."""

    def written(sparsity: float, digits: int) -> str:
        return f"{sparsity:.{digits}f}".rstrip("0").rstrip(".")

    def digits(sparsity: float) -> int:
        least = min(16, max(3, 1 + math.ceil(-math.log10(1 - sparsity)))) if sparsity < 1 else 3
        others = [other for other in sparsities if other != sparsity]
        for count in range(least, MOST_DIGITS):
            if all(written(other, count) != written(sparsity, count) for other in others):
                return count
        return MOST_DIGITS

    return {sparsity: written(sparsity, digits(sparsity)) for sparsity in sparsities}


def _varying(records: Iterable[Record], names: Iterable[str] | None = None) -> list[str]:
    """The facets of which the records have more than one value."""
    values: dict[str, set[str]] = {}
    for own in distinct_facets(records):
        for name, value in own.items():
            if value != ANY:
                values.setdefault(name, set()).add(repr(value))
    return [name for name in (names or values) if len(values.get(name, ())) > 1]


def _group_rows(
    group: Sequence[Record],
    names: Sequence[str],
    columns: Sequence[str],
    separating: Sequence[str],
    find_items: FindItems | None,
) -> list[TableRow]:
    """The rows of one task and model; `names` are the columns of its records."""
    separating = list(dict.fromkeys([*separating, *_varying(group)]))
    rows: dict[RowKey, dict[str, list[Record]]] = {}

    def ambiguity(number: int) -> int:  # records that fit into several rows are placed after all others
        return 2 if names[number] == DENSE else int(ANY in facets(group[number]).values())

    for number in sorted(range(len(group)), key=ambiguity):
        record, values = group[number], facets(group[number])
        own: RowKey = record.method, tuple((name, values.get(name)) for name in separating)
        matching = [key for key in rows if _fits(own, key)] if ambiguity(number) else [own]
        for key in matching or [own]:
            rows.setdefault(key, {}).setdefault(names[number], []).append(record)
    digits = decimals(group)
    places = list({(record.seed, record.fold): record for record in group}.values())
    computed: dict[tuple[int, ...], CellValue] = {}  # a dense net is in every row, and is computed once

    def cell_value(records: Sequence[Record]) -> CellValue:
        key = tuple(map(id, records))
        if key not in computed:
            computed[key] = make_cell_value(records, places, digits, find_items)
        return computed[key]

    cell_values = {
        key: [cell_value(row[name]) if name in row else CellValue("missing") for name in columns]
        for key, row in rows.items()
    }
    _mark_best(list(cell_values.values()), columns, group)
    task, model = group[0].task, group[0].model
    return [TableRow(task, model, _label(key), tuple(values)) for key, values in cell_values.items()]


def _fits(own: RowKey, row: RowKey) -> bool:
    """Whether a record belongs to a row; ANY equals every value."""
    same = own[0] in {DENSE, row[0]}
    return same and all(a in {ANY, b} for (_, a), (_, b) in zip(own[1], row[1], strict=True))


def _label(key: RowKey) -> str:
    method, separating = key
    plain = ("protocol", "scope", "distribution", "data")
    words = [
        facet_text(value) if name in plain else f"{name}={facet_text(value)}"
        for name, value in separating
        if value is not None and value != ANY
    ]
    return f"{method} ({', '.join(words)})" if words else method


def _mark_best(rows: Sequence[list[CellValue]], columns: Sequence[str], group: Iterable[Record]) -> None:
    """Mark the best certified number without remarks in each column but dense, if there are several."""
    higher = next((record.score.higher_is_better for record in group if record.score), True)
    for at, column in enumerate(columns):
        values = [row[at].value for row in rows if row[at].state == "ok" and not row[at].remarks]
        if column == DENSE or len(values) < 2:
            continue
        best = max(values) if higher else min(values)
        for row in rows:
            if row[at].state == "ok" and not row[at].remarks and row[at].value == best:
                row[at] = replace(row[at], best=True)
