"""The JSON Schema of a record: of a line of `results.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter

from smc_eval.experiment.meaning import meaning
from smc_eval.store.record import EMPTY_PARTS, RECORD_SCHEMA, Record


def record_schema() -> dict[str, Any]:
    """The JSON Schema of `Record.to_json`, with the line's own `schema` and `seal`.

    Fields are described by their docstrings.
    """
    schema = TypeAdapter(Record).json_schema(mode="serialization")
    for kind in dict.fromkeys(_classes(Record)):
        part = schema if kind is Record else schema["$defs"][kind.__name__]
        for name, form in part["properties"].items():
            if text := meaning(kind, name):
                form["description"] = text
    fields = schema["properties"]
    for name in EMPTY_PARTS:
        reference = next(kind for kind in fields[name]["anyOf"] if "$ref" in kind)
        fields[name] = {"anyOf": [reference, {"type": "object", "maxProperties": 0}]}
    fields["schema"] = {"const": RECORD_SCHEMA, "description": "Version of the form of a record."}
    fields["seal"] = {"type": "string", "description": "SHA-256 of the line without this value, its last"}
    schema["required"] = ["schema", *schema["required"], "seal"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _classes(kind: Any) -> Iterator[type]:
    """A class of the record, and the classes of its fields."""
    if isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, BaseModel)):
        yield kind
        if is_dataclass(kind):
            for inner in get_type_hints(kind).values():
                yield from _classes(inner)
    else:
        for inner in get_args(kind):
            yield from _classes(inner)
