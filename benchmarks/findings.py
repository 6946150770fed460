"""The tables of docs/findings/newcomers.md and docs/findings/smollm2.md, from the records beside them.

    python benchmarks/findings.py

It writes the tables anew between the marks of each page, and leaves the rest as it is. Differences are paired
over seeds and examples, as those of `smc-eval compare`. P-values are corrected by Holm's method for all
differences of one table.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.compare import PairedComparison, compare_methods
from smc_eval.reporting.table import Table, table_of
from smc_eval.statistics import holm
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record, same_data
from smc_eval.store.records import RecordsFile

PAGES = Path(__file__).parent.parent / "docs" / "findings"
START, END = "<!-- tables: python benchmarks/findings.py -->", "<!-- end of tables -->"
STORES = ("gts", "csqa", "hp")
"""The folders of records of the page of newcomers, in the order of its tables. Those that were not run yet
are left out."""
AGAINST = ("omp-after", "gmp")
"""The methods that a newcomer has to beat."""
LEVEL = 0.05
"""Above it, two methods are a tie."""


def newcomers() -> str:
    """A table in Markdown for each store and sparsity."""
    folders = [PAGES / "records" / name for name in STORES]
    return "\n\n".join(table for folder in folders if folder.is_dir() for table in _tables(folder))


def smollm2() -> str:
    """Methods against targets, each perplexity with its interval over windows."""
    _, table = _read(PAGES / "records" / "smollm2")
    columns = [name for name in table.columns if name != DENSE]
    lines = [f"| method | {' | '.join(columns)} |", "| --- |" + " --: |" * len(columns)]
    methods = Counter(_method(row.method) for row in table.rows)
    for row in table.rows:
        values = dict(zip(table.columns, row.cell_values, strict=True))
        cells = [_perplexity(values[name]) for name in columns]
        lines.append(f"| `{_named(row.method, methods)}` | {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES: Mapping[str, Callable[[], str]] = {"newcomers": newcomers, "smollm2": smollm2}
"""What makes the tables of each page, by the page's name."""


def page(name: str) -> Path:
    """The file of a page."""
    return PAGES / f"{name}.md"


def document(name: str) -> str:
    """The text of a page with its tables written anew."""
    before, mark, rest = page(name).read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    assert end, f"{page(name)} has lost its marks"
    return f"{before}{mark}\n\n{TABLES[name]()}\n\n{end}{after}"


def _read(folder: Path) -> tuple[list[Record], Table]:
    """The records of a store, and their table."""
    records = same_data(RecordsFile(folder).latest().values())
    return records, table_of(records, items_in([folder]))


def _tables(folder: Path) -> Iterator[str]:
    """The tables of one store: one for each sparsity."""
    records, table = _read(folder)
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
    methods = Counter(map(_method, values))
    own = {row: [record for record in records if _is_of(record, row, methods)] for row in values}
    named = {row: _named(row, methods) for row in values}
    others = [row for row in values if _method(row) in AGAINST]
    for row in values:
        for other in others:
            if _method(row) != _method(other):
                both = [*own[row], *own[other]]
                words = (f"{_method(each)}@{column}" for each in (row, other))
                pairs[row, other] = compare_methods(both, items, *words)[0]
    corrected = dict(zip(pairs, holm([pair.comparison.p for pair in pairs.values()]), strict=True))
    first = records[0]
    assert first.score is not None
    lines = [
        f"**{first.task}, {first.model}, {column}**; dense {dense.text}, {first.score.metric}",
        "",
        f"| method | score | {' | '.join(f'minus `{named[other]}` | p' for other in others)} |",
        "| --- | --: | " + " | ".join("--: | --:" for _ in others) + " |",
    ]
    for row in sorted(values, key=lambda row: -values[row].value):
        cells = [f"`{named[row]}`", values[row].text]
        for other in others:
            if (row, other) not in pairs:
                cells += ["", ""]
                continue
            difference, p = pairs[row, other].comparison.difference, corrected[row, other]
            sign = f"{difference:+.1f}".replace("-", "−")
            cells += [f"**{sign}**" if p < LEVEL else sign, f"{p:.3f}" if p >= 0.001 else "<0.001"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _method(row: str) -> str:
    """The method of a row, without its distribution."""
    return row.partition(" ")[0]


def _named(row: str, methods: Mapping[str, int]) -> str:
    """A row as the pages name it: with its distribution where the table has several rows of the method."""
    return row if methods[_method(row)] > 1 else _method(row)


def _is_of(record: Record, row: str, methods: Mapping[str, int]) -> bool:
    """Whether a record belongs to a row."""
    if methods[_method(row)] == 1:
        return record.method == _method(row)
    return row == f"{record.method} ({record.target.distribution})"


def _perplexity(value: CellValue) -> str:
    """A perplexity with its interval."""
    if not value.records:
        return "–"
    interval = value.interval
    assert interval is not None
    return f"{_number(value.value)} ({_number(interval.low)} to {_number(interval.high)})"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def main() -> None:
    """Write the pages anew."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name in TABLES:
        page(name).write_text(document(name), encoding="utf-8")
        print(f"wrote {page(name)}")


if __name__ == "__main__":
    main()
