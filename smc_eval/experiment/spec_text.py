"""Specs from text: options as words, checked and named in errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment.meaning import meaning
from smc_eval.optimizer import Optimizer
from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.trackers.tracker import Tracker

COMMAND_LINE = ("flag", "the command line")
"""Noun and owner of flags in errors, see `parse_spec`."""


LONGEST_TEXT = 2**16
"""Characters of a value. A longer one is no list that anyone wrote."""


S = TypeVar("S", bound=Spec)


def parse_spec(kind: type[S], words: Mapping[str, Any], noun: str, owner: str) -> S:
    """A Spec from text: `none` is None if the field allows it, `[a,b]` a list, `a.b=…` a field of a field.

    Args:
        noun: what a field is called in errors: an option, a flag.
        owner: what has the fields, for errors: a method, the command line.

    Raises:
        UnknownName: the Spec has no such field; names the nearest.
        UsageError: a value is wrong for its field; gives the meaning of the field.
    """
    return check_spec(kind, _field_values(kind, words, noun, owner), noun, owner)


def check_spec(kind: type[S], values: Mapping[str, Any], noun: str, owner: str) -> S:
    """A Spec from values, with readable errors.

    Raises:
        UnknownName: the Spec has no such field; names the nearest.
        UsageError: a value is wrong for its field; gives the meaning of the field.
    """
    _refuse_texts(values, noun, owner)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UnknownName(f"{noun} of {owner}", where, _names(kind)) from None
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
        if not where:
            raise UsageError(f"{owner}: {message}") from None
        name = next((n for n, field in kind.model_fields.items() if where in (n, field.alias)), None)
        about = f" ({where}: {text})" if name and (text := meaning(kind, name)) else ""
        culprit = f"{noun} {where!r} of {owner}"
        if (noun, owner) == COMMAND_LINE:
            culprit = f"--{where.replace('_', '-')}"
            if first["type"] == "value_error":  # it names the part that is wrong, and says what is wanted
                raise UsageError(f"{culprit}: {message}") from None
        raise UsageError(f"{culprit} is {first['input']!r}; {message}{about}") from None


def _refuse_texts(values: Mapping[str, Any], noun: str, owner: str) -> None:
    """Refuse texts that name no file and can stand in no record.

    Raises:
        UsageError: a text has a zero byte or bytes that are no UTF-8, or is too long.
    """
    for name, value in values.items():
        for text in value if isinstance(value, list | tuple) else (value,):
            if not isinstance(text, str):
                continue
            if len(text) > LONGEST_TEXT:
                raise UsageError(
                    f"{noun} {name!r} of {owner} is {text[:40] + '…'!r}; it has {len(text):,} characters, "
                    f"more than {LONGEST_TEXT:,}"
                )
            if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
                raise UsageError(
                    f"{noun} {name!r} of {owner} is {text!r}; it has a zero byte, or bytes that are no UTF-8"
                )


def _names(kind: type[Spec]) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items()]


def _field_values(kind: type[Spec], words: Mapping[str, Any], noun: str, owner: str) -> dict[str, Any]:
    """The values of fields from text, as far as pydantic does not convert them."""
    values, inner = dict[str, Any](), dict[str, dict[str, Any]]()
    for key, value in words.items():
        head, dot, rest = key.partition(".")
        if dot:
            inner.setdefault(head, {})[rest] = value
            continue
        values[key] = _value(kind, key, value, f"{noun} {key!r} of {owner}")
    for head, part in inner.items():
        values[head] = _inner_spec(kind, head, part, noun, owner)
    return values


def _value(kind: type[Spec], key: str, value: object, where: str) -> object:
    field = kind.model_fields.get(key)
    if value == "none" and field and type(None) in get_args(field.annotation):
        return None
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise UsageError(f"{where} is {value!r}, not a list such as [0.9,0.98]") from None
    return value


def _inner_spec(kind: type[Spec], head: str, part: Mapping[str, Any], noun: str, owner: str) -> Spec:
    """A Spec that is an option of another Spec, with some of its fields given."""
    field = kind.model_fields.get(head)
    candidates = (field.annotation, *get_args(field.annotation)) if field else ()
    specs = [c for c in candidates if isinstance(c, type) and issubclass(c, Spec)]
    if not field or not specs:
        raise UnknownName(f"{noun} of {owner}", f"{head}.{next(iter(part))}", _names(kind))
    field_owner = f"{head!r} of {owner}"
    if isinstance(field.default, Recipe):
        return amend_recipe(field.default, part, field_owner)
    defaults = (
        {n: getattr(field.default, n) for n in type(field.default).model_fields} if field.default else {}
    )
    return parse_spec(specs[0], {**defaults, **part}, "field", field_owner)


def parse_optimizer(text: str, optimizers: Mapping[str, type[Optimizer]]) -> Optimizer:
    """An optimizer from its name and options, as in `sam:rho=0.1:base=sgd`.

    Raises:
        UnknownName: there is no such optimizer, or it has no such option.
        UsageError: an option is no `key=value`, or its value is wrong.
    """
    name, *options = text.split(":")
    if name not in optimizers:
        raise UnknownName("optimizer", name, optimizers, see="smc-eval list optimizers")
    words = dict[str, str]()
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key or key in words:
            fault = "is given twice" if key in words else "is not of the form key=value"
            raise UsageError(f"option {option!r} of optimizer {name!r} {fault}")
        words[key] = value
    return parse_spec(optimizers[name], words, "option", f"optimizer {name!r}")


def parse_trackers(
    named: Iterable[tuple[str, Mapping[str, str]]], trackers: Mapping[str, type[Tracker]]
) -> tuple[Tracker, ...]:
    """Trackers from names and options, each once, as far as they can work on this machine.

    Raises:
        UnknownName: there is no such tracker, or it has no such option.
        UsageError: the value of an option is wrong, or a tracker cannot work here: its package is missing.
    """
    chosen = list[Tracker]()
    for name, options in named:
        if name not in trackers:
            raise UnknownName("tracker", name, trackers, see="smc-eval list trackers")
        chosen.append(parse_spec(trackers[name], options, "option", f"tracker {name!r}"))
    for tracker in chosen:
        tracker.check()
    return tuple(dict.fromkeys(chosen))


def amend_recipe(recipe: Recipe, changes: Mapping[str, Any], owner: str) -> Recipe:
    """The recipe with other field values; `epochs` replaces `steps`, and `steps` replaces `epochs`.

    Raises:
        UnknownName: a recipe has no such field.
        UsageError: a value is wrong for its field.
    """
    fields = {name: getattr(recipe, name) for name in Recipe.model_fields}
    for length in ("epochs", "steps"):
        if length in changes:
            fields |= {"epochs": None, "steps": None}
    return parse_spec(Recipe, {**fields, **changes}, "field", owner)
