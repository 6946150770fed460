"""Rows of a CSV file: the columns that are wanted, and the line each row begins on."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from smc_eval.errors import DataError
from smc_eval.tasks.folder import lines

QUOTED_LENGTH = 80
"""Characters of a wrong value that are told."""


def read_csv_rows(
    path: Path, columns: Sequence[str], further: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header, plain or `.gz`, blank ones left out, each with its line.

    A row holds the `columns`, and those of `further` that the file has.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row has other fields than the header.
    """
    found = _rows(path)
    _, header = next(found, (0, []))
    place = _places(path, header, columns, further)
    for line, row in found:
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} fields where the header has {len(header)}")
        yield line, {name: row[index] for name, index in place.items()}


def quoted(text: str) -> str:
    """A value as it is told in an error."""
    return repr(text if len(text) <= QUOTED_LENGTH else text[: QUOTED_LENGTH - 3] + "...")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    read = csv.reader(lines(path), strict=True)
    while True:
        line = read.line_num + 1
        try:
            row = next(read, None)
        except csv.Error as error:
            raise DataError(f"{path}, line {line}: no CSV: {error}") from None
        if row is None:
            return
        if row:
            yield line, row


def _places(
    path: Path, header: Sequence[str], columns: Sequence[str], further: Sequence[str]
) -> dict[str, int]:
    """Where in a row each column stands."""
    if not header:
        raise DataError(f"{path}: the file is empty; wanted a CSV with the columns {', '.join(columns)}")
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(f"{path}, line 1: no column {', '.join(missing)}; found {quoted(', '.join(header))}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}, line 1: column {', '.join(twice)} stands there more than once")
    return {name: header.index(name) for name in (*columns, *further) if name in header}
