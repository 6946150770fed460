"""Options in words: their names, types and values as users type them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from smc_eval.experiment.meaning import meaning
from smc_eval.optimizer import Optimizer
from smc_eval.recipe import Recipe
from smc_eval.spec import Spec

TYPES = {str: "text", int: "whole number", float: "number", bool: "true|false", type(None): "none"}
"""Words for the types of options."""


class OptionWords(NamedTuple):
    """An option of a method, task, optimizer or tracker, as its help shows it."""

    name: str
    kind: str
    """Its type in words, or the values of a choice."""
    default: str
    text: str


def options_in_words(kind: type[Spec], omit: Collection[str] = ()) -> list[OptionWords]:
    """Each option of a class; `omit` names fields that are no options."""
    return [
        OptionWords(
            name,
            type_in_words(field.annotation),
            typed_value(field.default),
            meaning(kind, name),
        )
        for name, field in kind.model_fields.items()
        if name not in omit
    ]


def recipe_in_words(recipe: Recipe) -> str:
    """The fields of a recipe that differ from the defaults."""
    fields = Recipe.model_fields
    return pairs_in_words({n: v for n in fields if (v := getattr(recipe, n)) != fields[n].default})


def pairs_in_words(options: Mapping[str, Any]) -> str:
    """Values by their names: `steps=300, keep=best`."""
    return ", ".join(f"{name}={typed_value(value)}" for name, value in options.items())


def type_in_words(annotation: Any) -> str:
    """A type in words: the values of a choice, the names of other types."""
    if annotation in TYPES:
        return TYPES[annotation]
    if get_origin(annotation) is Annotated:
        return type_in_words(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return "|".join(map(type_in_words, get_args(annotation)))
    if get_origin(annotation) in (tuple, list):
        return f"list of {type_in_words(get_args(annotation)[0])}"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def typed_value(value: object) -> str:
    """A value as users type it: `none`, `true`, `[0.9,0.98]`, `sam:rho=0.1`."""
    if isinstance(value, Optimizer):
        return value.label
    if isinstance(value, tuple | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
