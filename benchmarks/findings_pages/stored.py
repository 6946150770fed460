"""The records of a page of findings, and how the pages name their rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smc_eval.reporting.table import Table, table_of
from smc_eval.statistics import Comparison
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record, same_data
from smc_eval.store.records import RecordsFile

PAGES = Path(__file__).parents[2] / "docs" / "findings"
LEVEL = 0.05
"""Above it, a difference is not shown."""


def read(folder: Path) -> tuple[list[Record], Table]:
    """The records of a store, and their table."""
    records = same_data(RecordsFile(folder).latest().values())
    return records, table_of(records, items_in([folder]))


def method_of(row: str) -> str:
    """The method of a row, without its distribution."""
    return row.partition(" ")[0]


def named(row: str, methods: Mapping[str, int]) -> str:
    """A row as the pages name it: with its distribution where the table has several rows of the method."""
    return row if methods[method_of(row)] > 1 else method_of(row)


def signed(value: float, decimals: int = 2) -> str:
    """A number with its sign, as the pages write it."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def difference_cells(pair: Comparison, p: float, decimals: int = 1) -> list[str]:
    """A difference with its interval, **bold** where it is shown, and its corrected p."""
    assert pair.interval is not None
    numbers = (pair.difference, pair.interval.low, pair.interval.high)
    difference, low, high = (signed(number, decimals) for number in numbers)
    text = f"{difference} ({low} to {high})"
    return [f"**{text}**" if p < LEVEL else text, f"{p:.3f}" if p >= 0.001 else "<0.001"]
