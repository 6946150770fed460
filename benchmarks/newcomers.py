"""The tables of docs/findings/newcomers.md: every method against `omp-after` and `gmp`, at matched steps.

    python benchmarks/newcomers.py

It reads the records under docs/findings/records, and writes the tables anew between the marks of the page.
Differences are paired over seeds and examples, as those of `smc-eval compare`. P-values are corrected by
Holm's method for all differences of one table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.compare import PairedComparison, compare_methods
from smc_eval.reporting.table import table_of
from smc_eval.statistics import holm
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record, same_data
from smc_eval.store.records import RecordsFile

DOCUMENT = Path(__file__).parent.parent / "docs" / "findings" / "newcomers.md"
RECORDS = DOCUMENT.parent / "records"
START, END = "<!-- tables: python benchmarks/newcomers.py -->", "<!-- end of tables -->"
STORES = ("gts", "csqa", "hp")
"""Their folders of records, in the order of the tables; those that were not run yet are left out."""
AGAINST = ("omp-after", "gmp")
"""The methods that a newcomer has to beat."""
LEVEL = 0.05
"""Above it, two methods are a tie."""


def tables() -> str:
    """A table in Markdown for each store and sparsity."""
    folders = [RECORDS / name for name in STORES if (RECORDS / name).is_dir()]
    return "\n\n".join(table for folder in folders for table in _tables(folder))


def document(text: str) -> str:
    """The document with its tables written anew."""
    before, mark, rest = text.partition(START)
    _, end, after = rest.partition(END)
    assert end, f"{DOCUMENT} has lost its marks"
    return f"{before}{mark}\n\n{tables()}\n\n{end}{after}"


def _tables(folder: Path) -> Iterator[str]:
    """The tables of one store: one for each sparsity."""
    records = same_data(RecordsFile(folder).latest().values())
    table = table_of(records, items_in([folder]))
    columns = {
        name: {
            row.method.partition(" ")[0]: value
            for row in table.rows
            if (value := row.cell_values[place]).records
        }
        for place, name in enumerate(table.columns)
    }
    dense = next(iter(columns.pop(DENSE).values()))
    for name, values in columns.items():
        yield _table(folder, name, values, dense, records)


def _table(
    folder: Path, column: str, values: dict[str, CellValue], dense: CellValue, records: Sequence[Record]
) -> str:
    """All methods at one sparsity, best first, with their differences from those that they have to beat."""
    items, pairs = items_in([folder]), dict[tuple[str, str], PairedComparison]()
    for method in values:
        for other in AGAINST:
            if method != other:
                found = compare_methods(records, items, f"{method}@{column}", f"{other}@{column}")
                pairs[method, other] = found[0]
    corrected = dict(zip(pairs, holm([pair.comparison.p for pair in pairs.values()]), strict=True))
    first = records[0]
    assert first.score is not None
    lines = [
        f"**{first.task}, {first.model}, {column}**; dense {dense.text}, {first.score.metric}",
        "",
        f"| method | score | {' | '.join(f'minus `{other}` | p' for other in AGAINST)} |",
        "| --- | --: | " + " | ".join("--: | --:" for _ in AGAINST) + " |",
    ]
    ranked = sorted(values, key=lambda method: -values[method].value)
    for method in ranked:
        cells = [f"`{method}`", values[method].text]
        for other in AGAINST:
            if method == other:
                cells += ["", ""]
                continue
            difference, p = pairs[method, other].comparison.difference, corrected[method, other]
            sign = f"{difference:+.1f}".replace("-", "−")
            cells += [f"**{sign}**" if p < LEVEL else sign, f"{p:.3f}" if p >= 0.001 else "<0.001"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Write the document anew."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {DOCUMENT}")


if __name__ == "__main__":
    main()
