"""The tables of docs/findings/newcomers.md: each method beside those that it has to beat.

Differences are paired over seeds and examples, as those of `smc-eval compare`. P-values are corrected by
Holm's method for all differences of one table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from findings_pages.stored import PAGES, method_of, named, read

from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.compare import PairedComparison, compare_methods
from smc_eval.statistics import holm
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record

STORES = ("gts", "csqa", "hp")
"""The folders of records, in the order of the tables."""
AGAINST = ("omp-after", "gmp")
"""The methods that a newcomer has to beat."""
LEVEL = 0.05
"""Above it, two methods are a tie."""


def newcomers() -> str:
    """A table in Markdown for each store and sparsity."""
    return "\n\n".join(table for name in STORES for table in _tables(PAGES / "records" / name))


def _tables(folder: Path) -> Iterator[str]:
    """The tables of one store: one for each sparsity."""
    records, table = read(folder)
    for place, column in enumerate(table.columns):
        values = {row.method: row.cell_values[place] for row in table.rows if row.cell_values[place].records}
        if column == DENSE:
            dense = next(iter(values.values()))
        else:
            yield _table(folder, column, values, dense, records)


def _table(
    folder: Path, column: str, values: dict[str, CellValue], dense: CellValue, records: Sequence[Record]
) -> str:
    """All rows at one sparsity, best first, with their differences from those that they have to beat.

    A row is a method, with its distribution where the store has several of the method.
    """
    items, pairs = items_in([folder]), dict[tuple[str, str], PairedComparison]()
    methods = Counter(map(method_of, values))
    own = {row: [record for record in records if _is_of(record, row, methods)] for row in values}
    names = {row: named(row, methods) for row in values}
    others = [row for row in values if method_of(row) in AGAINST]
    for row in values:
        for other in others:
            if method_of(row) != method_of(other):
                both = [*own[row], *own[other]]
                words = (f"{method_of(each)}@{column}" for each in (row, other))
                pairs[row, other] = compare_methods(both, items, *words)[0]
    corrected = dict(zip(pairs, holm([pair.comparison.p for pair in pairs.values()]), strict=True))
    first = records[0]
    assert first.score is not None
    lines = [
        f"**{first.task}, {first.model}, {column}**; dense {dense.text}, {first.score.metric}",
        "",
        f"| method | score | {' | '.join(f'minus `{names[other]}` | p' for other in others)} |",
        "| --- | --: | " + " | ".join("--: | --:" for _ in others) + " |",
    ]
    for row in sorted(values, key=lambda row: -values[row].value):
        cells = [f"`{names[row]}`", values[row].text]
        for other in others:
            if (row, other) not in pairs:
                cells += ["", ""]
                continue
            difference, p = pairs[row, other].comparison.difference, corrected[row, other]
            sign = f"{difference:+.1f}".replace("-", "−")
            cells += [f"**{sign}**" if p < LEVEL else sign, f"{p:.3f}" if p >= 0.001 else "<0.001"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _is_of(record: Record, row: str, methods: Mapping[str, int]) -> bool:
    """Whether a record belongs to a row."""
    if methods[method_of(row)] == 1:
        return record.method == method_of(row)
    return row == f"{record.method} ({record.target.distribution})"
