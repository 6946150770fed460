"""A record as a line of JSON, sealed by a digest of the line."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json

from smc_eval.recipe import Recipe
from smc_eval.store.record import RECORD_SCHEMA, DataSource, Record, TargetRecord

SEAL_KEY = b', "seal": "'
"""Begins the last value of a line."""

LINE_END = b'"}\n'


class BrokenLine(ValueError):
    """A line that was cut short or altered."""


class ForeignSchema(ValueError):
    """A whole line that another release wrote."""


def sealed_line(record: Record) -> bytes:
    """The line of a record: its JSON, and last the SHA-256 of that JSON.

    Raises:
        ValueError: a value is no number that JSON has, or no text that UTF-8 has.
        TypeError: a value has a type that JSON has not.
    """
    plain = {"schema": RECORD_SCHEMA, **record.to_json()}
    content = json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    seal = hashlib.sha256(content).hexdigest().encode()
    return content[:-1] + SEAL_KEY + seal + LINE_END


class LineReader:
    """Reads records from lines. Equal recipes, targets and data of records are one object."""

    def __init__(self) -> None:
        self._parts = dict[tuple[str, str], object]()

    def record(self, line: bytes) -> Record:
        """The record of a line.

        Raises:
            BrokenLine: the line was cut short or altered.
            ForeignSchema: another release wrote it.
        """
        try:
            plain = sealed_values(line)
            schema = plain.pop("schema") if plain else None
            if plain and schema == RECORD_SCHEMA:
                return Record.from_json(plain | self._shared(plain))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BrokenLine from None
        if schema is None:
            raise BrokenLine
        raise ForeignSchema(f"records of schema {schema!r}, written by another release of smc-eval")

    def _shared(self, plain: dict[str, Any]) -> dict[str, object]:
        """The parts that other records may have too. Their text tells 0.0 from -0.0, and 1 from True."""
        parts = {}
        for name, adapter in _adapters().items():
            key = name, repr(plain.get(name))
            if key not in self._parts:
                self._parts[key] = adapter.validate_python(plain.get(name))
            parts[name] = self._parts[key]
        return parts


def sealed_values(line: bytes) -> dict[str, Any] | None:
    """The values of a line without its seal; None where the seal is wrong.

    It is the seal of the bytes without it. A line of an earlier build has the seal of its values.
    """
    content, key, end = line.removesuffix(b"\n").rpartition(SEAL_KEY)
    content += b"}"
    if key and hashlib.sha256(content).hexdigest().encode() + LINE_END[:-1] == end:
        values: dict[str, Any] = from_json(content)
        return values
    values = from_json(line)
    return values if values.pop("seal") == seal_of_values(values) else None


def seal_of_values(values: dict[str, Any]) -> str:
    """SHA-256 of the values as compact JSON with sorted keys: their `smc_eval.spec.digest`."""
    text = json.dumps([values], sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    return {
        "target": TypeAdapter(TargetRecord),
        "recipe": TypeAdapter(Recipe),
        "data": TypeAdapter(DataSource),
    }
