"""The schema of a record as tables: each key with its type and meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from smc_eval_docs.page import ROOT, Page, code, plain, table

PATH = "record-schema.md"
"""The page of the schema."""

SCHEMA = ROOT / "docs" / "record.schema.json"

INTRODUCTION = (
    "A line of `results.jsonl` is one object with these keys. This page is made from "
    "[record.schema.json](record.schema.json), which validates a line. [Records](records.md) says where "
    "records are and how to read them."
)

KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
KINDS |= {"null": "null", "object": "object", "array": "list"}
"""Words for the types of JSON."""

Node = Mapping[str, Any]


def record_page() -> Page:
    """The page of the schema."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    blocks = [
        "# Keys of a record",
        f"This is schema {schema['properties']['schema']['const']}. {INTRODUCTION}",
        *_section(schema, schema["$defs"]),
    ]
    for name, node in schema["$defs"].items():
        blocks += [f"## {name}", *_section(node, schema["$defs"])]
    return Page(PATH, "Keys of a record", "\n\n".join(blocks) + "\n")


def _section(node: Node, kinds: Mapping[str, Node]) -> list[str]:
    """What an object is, and a table of its keys."""
    blocks = [plain(part) for part in node.get("description", "").split("\n\n") if part]
    rows = [
        (
            code(key),
            type_words(value),
            plain(_meaning(value, kinds, required=key in node.get("required", ()))),
        )
        for key, value in node.get("properties", {}).items()
    ]
    return [*blocks, table(("key", "type", "meaning"), rows)]


def _meaning(value: Node, kinds: Mapping[str, Node], *, required: bool) -> str:
    """The description of a key, else that of its object; and its default where a record may lack it."""
    text = " ".join((value.get("description") or _of_object(value, kinds)).split())
    if "default" in value:
        default = json.dumps(value["default"], ensure_ascii=False)
        return f"{text} Default: `{default}`.".strip()
    return text if required or "const" in value or not text else f"{text} May be missing."


def _of_object(value: Node, kinds: Mapping[str, Node]) -> str:
    """The first paragraph about the object that a key holds, alone or beside null."""
    for part in (value, *value.get("anyOf", ())):
        if "$ref" in part:
            return str(kinds[part["$ref"].rpartition("/")[2]].get("description", "")).partition("\n\n")[0]
    return ""


def type_words(node: Node) -> str:
    """A type in words, with links to the sections of objects."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in node:
            return " or ".join(dict.fromkeys(type_words(part) for part in node[several]))
    if "enum" in node or "const" in node:
        return " or ".join(code(json.dumps(value)) for value in node.get("enum", [node.get("const")]))
    kind = node.get("type", "")
    if kind == "array":
        parts = node.get("prefixItems")
        inner = ", ".join(map(type_words, parts)) if parts else type_words(node.get("items", {}))
        return f"list of {inner}"
    if kind == "object":
        if node.get("maxProperties") == 0:
            return "an empty object"
        values = node.get("additionalProperties")
        return f"object of {type_words(values)}" if isinstance(values, Mapping) and values else "object"
    return KINDS.get(kind, "anything") + _bounds(node)


def _bounds(node: Node) -> str:
    """The bounds of a number; those that only keep out absurd values are left out."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {node[key]:g}" for key, sign in signs.items() if key in node and node[key] < 10**12]
    return f" {', '.join(bounds)}" if bounds else ""
