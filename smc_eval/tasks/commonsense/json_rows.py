"""Rows of JSON: objects as they stand in a file, and what their fields must hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from smc_eval.errors import DataError
from smc_eval.tasks.folder import lines

T = TypeVar("T")
JsonRow = Mapping[str, Any]


def read_rows(path: Path, made: Callable[[JsonRow], T]) -> list[T]:
    """What `made` makes of each line of a JSON-lines file, in file order; blank lines are passed over.

    Raises:
        DataError: the file cannot be read or is empty, or a line is no JSON object or makes no
            sense to `made`, which says so by ValueError; names file and line.
    """
    found = []
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            try:
                found.append(made(parse_object(line)))
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {error}") from None
    if not found:
        raise DataError(f"{path}: the file is empty; wanted one JSON object a line")
    return found


def parse_object(content: str) -> JsonRow:
    """A JSON object; ValueError says what is wrong with the text."""
    try:
        row = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError:  # Python reads no number of more than some thousand digits
        raise ValueError("no JSON that could be read: it holds a number too long") from None
    except RecursionError:
        raise ValueError("no JSON that could be read: it is nested too deeply") from None
    return _object(row, "it")


def any_field(row: JsonRow, name: str) -> Any:
    """A field's value; ValueError says which fields there are."""
    if name not in row:
        raise ValueError(f"no {name!r}; found {quoted_json(', '.join(row))}")
    return row[name]


def object_field(row: JsonRow, name: str) -> JsonRow:
    """A field that holds an object."""
    return _object(any_field(row, name), repr(name))


def list_field(row: JsonRow, name: str) -> list[Any]:
    """A field that holds a list."""
    match any_field(row, name):
        case list() as found:
            return found
        case other:
            raise ValueError(f"{name!r} is {quoted_json(other)}; wanted a list")


def text_field(row: JsonRow, name: str) -> str:
    """A field that holds text, and more than blanks."""
    found = text_value(any_field(row, name), name)
    if not found.strip():
        raise ValueError(f"{name!r} is empty")
    return found


def text_value(value: object, name: str) -> str:
    """A value that is text; lone halves of UTF-16 pairs, which JSON can hold, are none."""
    match value:
        case str():
            if any("\ud800" <= letter <= "\udfff" for letter in value):
                raise ValueError(f"{name!r} holds half a character: {quoted_json(value)}")
            return value
    raise ValueError(f"{name!r} is {quoted_json(value)}; wanted text")


def quoted_json(value: object) -> str:
    """A value as one can quote it."""
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _object(value: object, named: str) -> JsonRow:
    match value:
        case dict():
            return value
    raise ValueError(f"{named} is {quoted_json(value)}; wanted a JSON object")
