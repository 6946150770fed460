"""The table of docs/findings/smollm2.md, from the records beside it.

python benchmarks/smollm2.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.table import table_of
from smc_eval.store.predictions import items_in
from smc_eval.store.record import same_data
from smc_eval.store.records import RecordsFile

DOCUMENT = Path(__file__).parent.parent / "docs" / "findings" / "smollm2.md"
FOLDER = DOCUMENT.parent / "records" / "smollm2"
START, END = "<!-- tables: python benchmarks/smollm2.py -->", "<!-- end of tables -->"


def table() -> str:
    """Methods against targets, in Markdown, each cell with its interval over windows."""
    records = same_data(RecordsFile(FOLDER).latest().values())
    found = table_of(records, items_in([FOLDER]))
    columns = [name for name in found.columns if name != DENSE]
    lines = [f"| method | {' | '.join(columns)} |", "| --- |" + " --: |" * len(columns)]
    for row in found.rows:
        values = dict(zip(found.columns, row.cell_values, strict=True))
        cells = [_text(values[name]) for name in columns]
        lines.append(f"| `{row.method.partition(' ')[0]}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def document(text: str) -> str:
    """The document with its table written anew."""
    before, mark, rest = text.partition(START)
    _, end, after = rest.partition(END)
    assert end, f"{DOCUMENT} has lost its marks"
    return f"{before}{mark}\n\n{table()}\n\n{end}{after}"


def _text(value: CellValue) -> str:
    """A perplexity with its interval."""
    if not value.records:
        return "–"
    interval = value.interval
    assert interval is not None
    return f"{_number(value.value)} ({_number(interval.low)} to {_number(interval.high)})"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def main() -> None:
    """Write the document anew."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {DOCUMENT}")


if __name__ == "__main__":
    main()
