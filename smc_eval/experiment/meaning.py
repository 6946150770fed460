"""The meaning of a field: its docstring, the text below it, which users read as help."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from textwrap import dedent


def meaning(kind: type, name: str) -> str:
    """What a field of a Spec or a dataclass means, on one line; empty if nothing says it.

    A description that the field itself has goes first. Else it is the docstring in the class that declares
    the field last. The source is read only when a meaning is asked for: pydantic's
    `use_attribute_docstrings` reads it for each class that is made, half of the time of `smc-eval list`.
    """
    field = getattr(kind, "model_fields", {}).get(name)
    text = field.description if field else None
    if text is None:
        own = next((base for base in kind.__mro__ if name in inspect.get_annotations(base)), None)
        text = _docstrings(own).get(name) if own else None
    return " ".join((text or "").split())


@cache
def _docstrings(cls: type) -> Mapping[str, str]:
    """The docstrings of the fields that a class itself declares; none where its source is not at hand."""
    try:
        body = ast.parse(dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    return dict(_documented(body[0])) if body and isinstance(body[0], ast.ClassDef) else {}


def _documented(tree: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(tree.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            yield field.target.id, text.value.value
