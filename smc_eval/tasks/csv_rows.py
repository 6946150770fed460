"""Rows of a CSV file: selected columns, and the line that each row begins on."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from smc_eval.errors import DataError
from smc_eval.tasks.folder import lines

QUOTED_LENGTH = 80
"""Characters of a value that an error message shows."""


def read_csv_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header, plain or `.gz`, each with its line; blank rows are skipped.

    A row holds the `columns`, and those of the `optional` columns that the file has.

    Raises:
        DataError: the file cannot be read or lacks a column, or a row has more or fewer fields than
            the header.
    """
    rows = _rows(path)
    _, header = next(rows, (0, []))
    indices = _column_indices(path, header, columns, optional)
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} fields where the header has {len(header)}")
        yield line, {name: row[index] for name, index in indices.items()}


def quoted(text: str) -> str:
    """A value in quotes, shortened for an error message."""
    return repr(text if len(text) <= QUOTED_LENGTH else text[: QUOTED_LENGTH - 3] + "...")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines(path), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}, line {line}: no CSV: {error}") from None
        if row is None:
            return
        if row:
            yield line, row


def _column_indices(
    path: Path, header: Sequence[str], columns: Sequence[str], optional: Sequence[str]
) -> dict[str, int]:
    """The position of each column in a row."""
    if not header:
        raise DataError(f"{path}: the file is empty; wanted a CSV with the columns {', '.join(columns)}")
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(f"{path}, line 1: no column {', '.join(missing)}; found {quoted(', '.join(header))}")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{path}, line 1: column {', '.join(repeated)} occurs more than once")
    return {name: header.index(name) for name in (*columns, *optional) if name in header}
