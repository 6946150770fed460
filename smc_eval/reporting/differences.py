"""Versions and data that differ between nets whose scores are averaged or compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from smc_eval.reporting.table import Table
from smc_eval.store.record import Record

NO_VERSION = ("threads", "ranks", "sharded")
"""Parts of a record's `versions` that say how a cell ran, and not what computed its numbers."""

Values = tuple[str, ...]


def differing(records: Iterable[Record]) -> dict[str, Values]:
    """The versions that differ between records of results, by name, and the digests of differing data.

    What a record does not name is unknown, and differs from nothing. Folds have different data by nature.
    """
    versions: dict[str, dict[str, None]] = {}
    digests: dict[tuple[str, int | None], dict[str, None]] = {}
    for record in records:
        if record.status != "ok":
            continue
        for name, version in record.versions.items():
            if name not in NO_VERSION:
                versions.setdefault(name, {})[str(version)] = None
        if record.data.digest:
            digests.setdefault((record.task, record.fold), {})[record.data.digest[:8]] = None
    found = {name: tuple(sorted(values)) for name, values in versions.items() if len(values) > 1}
    data = dict.fromkeys(value for values in digests.values() if len(values) > 1 for value in values)
    return found | ({"data": tuple(sorted(data))} if data else {})


def difference_text(differences: Mapping[str, Values]) -> str:
    """Differences as text: `torch 2.12.0 | 2.13.0, numpy 2.3.0 | 2.4.6`."""
    return ", ".join(f"{name} {' | '.join(values)}" for name, values in differences.items())


def within_means(table: Table) -> Iterator[str]:
    """A warning for each difference within the records of one mean, with its first mean."""
    means: dict[str, list[str]] = {}
    for row in table.rows:
        for column, cell_value in zip(table.columns, row.cell_values, strict=True):
            if differences := differing(cell_value.records):
                name = f"{row.task} {row.method} {column}"
                means.setdefault(difference_text(differences), []).append(name)
    for words, names in means.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"VERSIONS DIFFER WITHIN A MEAN: {words} ({names[0]}{more})"


def between_rows(table: Table) -> Iterator[str]:
    """A line for each difference between the results of one task and model."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in table.records:
        groups.setdefault((record.task, record.model), []).append(record)
    tasks: dict[str, list[str]] = {}
    for (task, _), records in groups.items():
        if differences := differing(records):
            tasks.setdefault(difference_text(differences), []).append(task)
    for words, names in tasks.items():
        yield f"versions of {_listed(names)}: {words} (they differ: scores may, for this reason alone)"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))
