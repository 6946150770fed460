"""Rows of JSON: parsing the objects of a file, and checking the types of their fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from smc_eval.errors import DataError
from smc_eval.tasks.folder import lines

T = TypeVar("T")
JsonRow = Mapping[str, Any]


def read_rows(path: Path, convert: Callable[[JsonRow], T]) -> list[T]:
    """Convert each line of a JSON-lines file to an example, in file order; blank lines are skipped.

    Raises:
        DataError: the file cannot be read or is empty, a line is not a JSON object, or `convert` raised a
            ValueError; the message names file and line.
    """
    examples = []
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            try:
                examples.append(convert(parse_object(line)))
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {error}") from None
    if not examples:
        raise DataError(f"{path}: the file is empty; wanted one JSON object a line")
    return examples


def parse_object(content: str) -> JsonRow:
    """Parse a JSON object; a ValueError describes what is wrong."""
    try:
        row = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError:  # Python limits the digits of a number
        raise ValueError("cannot read the JSON: a number has too many digits") from None
    except RecursionError:
        raise ValueError("cannot read the JSON: it is nested too deeply") from None
    return _object(row, "the content")


def any_field(row: JsonRow, name: str) -> Any:
    """The value of a field; a ValueError lists the fields if it is missing."""
    if name not in row:
        raise ValueError(f"no {name!r}; found {quoted_json(', '.join(row))}")
    return row[name]


def object_field(row: JsonRow, name: str) -> JsonRow:
    """A field that holds an object."""
    return _object(any_field(row, name), repr(name))


def list_field(row: JsonRow, name: str) -> list[Any]:
    """A field that holds a list."""
    match any_field(row, name):
        case list() as items:
            return items
        case other:
            raise ValueError(f"{name!r} is {quoted_json(other)}; wanted a list")


def text_field(row: JsonRow, name: str) -> str:
    """A field that holds text that is not blank."""
    text = text_value(any_field(row, name), name)
    if not text.strip():
        raise ValueError(f"{name!r} is empty")
    return text


def text_value(value: object, name: str) -> str:
    """A value that is text. Lone UTF-16 surrogates, which JSON allows, are refused."""
    match value:
        case str():
            if any("\ud800" <= letter <= "\udfff" for letter in value):
                raise ValueError(f"{name!r} holds half a character: {quoted_json(value)}")
            return value
    raise ValueError(f"{name!r} is {quoted_json(value)}; wanted text")


def quoted_json(value: object) -> str:
    """A value in quotes, shortened for an error message."""
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _object(value: object, name: str) -> JsonRow:
    match value:
        case dict():
            return value
    raise ValueError(f"{name} is {quoted_json(value)}; wanted a JSON object")
