"""The table of docs/findings/smollm2.md: methods against targets, perplexities with intervals."""

from __future__ import annotations

from collections import Counter

from findings_pages.stored import PAGES, method_of, named, read

from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import CellValue


def smollm2() -> str:
    """Methods against targets, each perplexity with its interval over windows."""
    _, table = read(PAGES / "records" / "smollm2")
    columns = [name for name in table.columns if name != DENSE]
    lines = [f"| method | {' | '.join(columns)} |", "| --- |" + " --: |" * len(columns)]
    methods = Counter(method_of(row.method) for row in table.rows)
    for row in table.rows:
        values = dict(zip(table.columns, row.cell_values, strict=True))
        cells = [_perplexity(values[name]) for name in columns]
        lines.append(f"| `{named(row.method, methods)}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _perplexity(value: CellValue) -> str:
    """A perplexity with its interval."""
    if not value.records:
        return "–"
    interval = value.interval
    assert interval is not None
    return f"{_number(value.value)} ({_number(interval.low)} to {_number(interval.high)})"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"
