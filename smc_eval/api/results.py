"""Results: the records of a run or of stores, as a table, a data frame or a comparison."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smc_eval.cli.compare import comparison_table, shown
from smc_eval.errors import UsageError, named_value
from smc_eval.experiment.config import Format
from smc_eval.reporting.compare import PairedComparison, compare_methods
from smc_eval.reporting.export import record_lines
from smc_eval.reporting.table import Table, table_of
from smc_eval.reporting.terminal import render_table, render_text_table
from smc_eval.reporting.text_table import TextTable
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record, same_data

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class ShownTable:
    """A table that shows itself, as the command prints it."""

    data: Table
    """Its columns, rows and records."""

    def text(self, form: Format = "table") -> str:
        """The table in one of the forms of `--format`."""
        return render_table(self.data, form)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>"


@dataclass(frozen=True, repr=False)
class Comparisons:
    """Paired comparisons of two methods, one for each task, model and sparsity."""

    pairs: tuple[PairedComparison, ...]
    """Scores, difference, interval and p-values."""
    shown: TextTable
    """The same as the verb `compare` prints it."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return render_text_table(self.shown)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@dataclass(frozen=True, repr=False)
class Results:
    """The records of cells, and the stores that hold their predictions."""

    records: tuple[Record, ...]
    """One for each cell, in the order of the cells."""
    folders: tuple[Path, ...]
    """The stores. With their predictions, intervals cover examples too."""

    def table(self) -> ShownTable:
        """The results table. It prints as the command's, and shows itself in a notebook."""
        return ShownTable(self._table)

    def frame(self) -> pd.DataFrame:
        """One row for each record, with the columns of `report --format csv`."""
        import pandas as pd

        return pd.DataFrame(record_lines(self._table))

    def compare(self, a: str, b: str, **where: object) -> Comparisons:
        """Whether two methods differ, on the same seeds and examples; p-values are corrected by Holm.

        Args:
            a: a method, or `METHOD@SPARSITY`.
            b: the other.
            where: values that records must have, such as `scope="body"`.

        Raises:
            UsageError: there are no such records.
        """
        for method in (a, b):
            if not isinstance(method, str):
                raise UsageError(f"a method is {named_value(method)}; wanted a text such as 'lth@0.9'")
        chosen = {name: str(value) for name, value in where.items()}
        records = same_data(self.records)
        pairs = compare_methods(records, items_in(list(self.folders)), a, b, chosen)
        return Comparisons(tuple(pairs), shown(comparison_table(pairs, a, b, records), pairs))

    @property
    def failed(self) -> tuple[Record, ...]:
        """The records of cells that failed."""
        return tuple(record for record in self.records if record.status == "failed")

    @property
    def _table(self) -> Table:
        return table_of(same_data(self.records), items_in(list(self.folders)))

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
