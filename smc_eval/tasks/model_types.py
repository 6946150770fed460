"""Model types that transformers loads, read from its source: importing its tables would import torch."""

from __future__ import annotations

import ast
import importlib.util
import sys
from functools import cache
from pathlib import Path

TABLES = "transformers.models.auto.modeling_auto"


def model_types(table: str) -> frozenset[str]:
    """The model types in a table of `transformers.models.auto.modeling_auto`; empty if it cannot be read."""
    if module := sys.modules.get(TABLES):
        return frozenset(getattr(module, table, ()))
    return types_in_source(table)


@cache
def types_in_source(table: str) -> frozenset[str]:
    """The model types in a table, from pairs of a type and a class in the source."""
    spec = importlib.util.find_spec(TABLES.partition(".")[0])
    if spec is None or spec.origin is None:
        return frozenset()
    path = Path(spec.origin).parent.joinpath(*TABLES.split(".")[1:]).with_suffix(".py")
    try:
        source = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return frozenset()
    values = (
        statement.value
        for statement in source.body
        if isinstance(statement, ast.Assign) and [ast.unparse(name) for name in statement.targets] == [table]
    )
    lists = (part for value in values for part in ast.walk(value) if isinstance(part, ast.List))
    pairs = (pair.elts for part in lists for pair in part.elts if isinstance(pair, ast.Tuple))
    return frozenset(
        first.value for first, *_ in pairs if isinstance(first, ast.Constant) and isinstance(first.value, str)
    )
