"""The meaning of a field: its docstring, the text below it, which users read as help."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

BRANCHES = (ast.If, ast.Try, ast.With)
"""Statements whose parts belong to the block around them."""


def meaning(kind: type, name: str) -> str:
    """What a field of a Spec or a dataclass means, on one line; empty if nothing says it.

    A description that the field itself has goes first. Else it is the docstring in the class that declares
    the field. The source is read only when a meaning is asked for: pydantic's `use_attribute_docstrings`
    reads it for each class that is made, more than a third of the time of `smc-eval list`.
    """
    field = _fields(kind).get(name)
    text = field.description if field else None
    if text is None:
        own = _declaring(kind, name)
        text = _docstrings(own).get(name) if own else None
    return " ".join((text or "").split())


def _fields(kind: type) -> Mapping[str, Any]:
    """The fields of a Spec; none of a dataclass."""
    return getattr(kind, "model_fields", {})


def _declaring(kind: type, name: str) -> type | None:
    """The class whose declaration of a field counts: the class itself, or that of its first base with it."""
    if name in inspect.get_annotations(kind):
        return kind
    if name in _fields(kind):
        base = next((base for base in kind.__bases__ if name in _fields(base)), None)
        return _declaring(base, name) if base else None
    return next((base for base in kind.__mro__ if name in inspect.get_annotations(base)), None)


@cache
def _docstrings(cls: type) -> Mapping[str, str]:
    """The docstrings of the fields that a class itself declares.

    None where its source is not at hand, or has several classes of this name and does not tell which one.
    """
    found = _statements(cls.__module__).get(cls.__qualname__, ())
    if line := vars(cls).get("__firstlineno__"):  # from Python 3.13 on
        found = tuple(each for each in found if _first_line(each) == line)
    return dict(_documented(found[0].body)) if len(found) == 1 else {}


@cache
def _statements(module: str) -> Mapping[str, tuple[ast.ClassDef, ...]]:
    """The class statements of a module by their qualified names."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, tuple[ast.ClassDef, ...]] = {}
    for name, statement in _classes(tree, ""):
        found[name] = (*found.get(name, ()), statement)
    return found


def _classes(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            yield from _classes(node, f"{prefix}{node.name}.")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _classes(node, f"{prefix}{node.name}.<locals>.")
        else:
            yield from _classes(node, prefix)


def _first_line(statement: ast.ClassDef) -> int:
    """The line on which a class begins, with its decorators."""
    return min([statement.lineno, *(each.lineno for each in statement.decorator_list)])


def _documented(block: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """The fields of a block with the texts below them."""
    for field, text in pairwise(block):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            yield field.target.id, text.value.value
    for statement in block:
        if isinstance(statement, BRANCHES):
            for part in ("body", "orelse", "finalbody"):
                yield from _documented(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from _documented(handler.body)
