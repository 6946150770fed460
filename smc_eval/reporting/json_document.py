"""Records, and what belongs to them, as one JSON document: a part at a time, as they may be many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from smc_eval.store.record import RECORD_SCHEMA, Record

CONTROL_SIGNS = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
"""Control characters that JSON allows, and a terminal may obey, with their escapes."""


def document_parts(results: Sequence[Record], further: Mapping[str, Any]) -> Iterator[str]:
    """The parts of the document `{"schema": 2, "results": [...], NAME: VALUE, ...}`, indented.

    `further` gives names and plain values. Only one record at a time is a text.
    """
    yield f'{{\n  "schema": {RECORD_SCHEMA},\n  "results": ['
    for number, result in enumerate(results):
        yield (",\n    " if number else "\n    ") + _indented(result.to_json(), "    ")
    yield "\n  ]" if results else "]"
    for name, value in further.items():
        yield f",\n  {_indented(name, '')}: {_indented(value, '  ')}"
    yield "\n}\n"


def _indented(value: Any, margin: str) -> str:
    """A plain value as JSON; each line after the first begins with the margin."""
    text = to_json(value, indent=2, inf_nan_mode="constants").decode()
    return text.replace("\n", "\n" + margin).translate(CONTROL_SIGNS)  # within a text, JSON has no line ends
