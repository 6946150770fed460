"""Parsing: the values of flags, read from text."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from smc_eval.errors import UnknownName, UsageError, counted
from smc_eval.experiment.budget import Budget, BudgetMeasure
from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.target import SMC_GRID, Scope, Target

COMMAND_LINE = ("flag", "the command line")
"""Noun and owner of flags in errors, see `parse_spec`."""
LONGEST_TOML = 2**20
"""Bytes of a TOML file. A longer one is refused, and so is one without an end."""

DEEPEST_TOML = 8
"""Levels of tables and lists in a TOML file."""

LONGEST_TEXT = 2**16
"""Characters of a value. A longer one is no list that anyone wrote."""

MOST_SEEDS = 100
"""A larger count is refused: it is probably meant as one seed."""

S = TypeVar("S", bound=Spec)

_GROUP = re.compile(r"[a-z0-9]+([-/][a-z0-9]+)*")


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file; `what` names it in errors: `grid`, `rates`.

    Raises:
        UsageError: the file is missing or is no TOML.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_TOML + 1)
        if len(text) > LONGEST_TOML:
            raise UsageError(f"{what} {path} is longer than {LONGEST_TOML:,} bytes; is it another file?")
        content = tomllib.loads(text.decode())
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{what} {path} is not a valid TOML file: {error}") from None
    except RecursionError:
        raise UsageError(f"{what} {path} is nested too deeply; wanted one key for each flag") from None
    if _depth(content) > DEEPEST_TOML:
        raise UsageError(f"{what} {path} is nested too deeply; wanted one key for each flag")
    return content


def _depth(content: object) -> int:
    """Levels of tables and lists, at most one more than are allowed."""
    level, depth = [content], 0
    while level and depth <= DEEPEST_TOML:
        parts = [part for part in level if isinstance(part, dict | list)]
        level = [v for part in parts for v in (part.values() if isinstance(part, dict) else part)]
        depth += bool(parts)
    return depth


def split_list(values: Iterable[str]) -> list[str]:
    """The elements of comma lists, in order; a comma inside brackets does not separate."""
    return [word for text in values for part in re.split(r",(?![^\[]*\])", text) if (word := part.strip())]


def parse_pairs(values: Iterable[str], flag: str) -> dict[str, str]:
    """`key=value,…` as a mapping; the last value of a key counts.

    Raises:
        UsageError: an element has no `=`.
    """
    pairs = dict[str, str]()
    for word in split_list(values):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{flag} {word!r} is not of the form key=value")
        pairs[key.strip()] = value.strip()
    return pairs


def parse_named(values: Iterable[str], noun: str) -> list[tuple[str, dict[str, str]]]:
    """Names and options from text such as `lth:share=0.1,early=0.05,dense`.

    After a comma, `key=value` is one more option of the name before it. `noun` is what is named: a method,
    a task.

    Raises:
        UsageError: an option is no `key=value`, is given twice or follows no name.
    """
    named = list[tuple[str, dict[str, str]]]()
    for text in values:
        begun = False
        for word in split_list([text]):
            option = word
            if "=" not in word or ":" in word.partition("=")[0]:
                name, _, option = word.partition(":")
                named.append((name, {}))
                begun = True
            elif not begun:
                raise UsageError(f"{text!r} gives option {word!r} to no {noun}; write NAME:{word}")
            name, options = named[-1]
            if not option:
                continue
            key, equals, value = option.partition("=")
            if not equals or not key:
                fault = f"has no value; write {option}=VALUE" if not equals else "has no name"
                raise UsageError(f"option {option!r} of {noun} {name!r} {fault}")
            if key in options:
                raise UsageError(f"option {key!r} of {noun} {name!r} is given twice")
            options[key] = value
    return named


def parse_models(values: Iterable[str]) -> dict[str | None, list[str]]:
    """Models by their group or task, from `MODEL` and `GROUP=MODEL`; the key of the former is None.

    Raises:
        UsageError: a model is empty.
    """
    models = dict[str | None, list[str]]()
    for text in values:
        head, equals, word = text.partition("=")
        group: str | None = head
        if not equals or not _GROUP.fullmatch(head):  # a folder's name may hold a `=`
            group, word = None, text
        if not word:
            raise UsageError(f"--model {text!r} names no model; write MODEL or GROUP=MODEL")
        models.setdefault(group, []).append(word)
    return models


def parse_targets(values: Iterable[str], scope: Scope) -> tuple[Target, ...]:
    """Targets, each once, from numbers, `N:M` and `smc`, the ten exact sparsities of the paper.

    Raises:
        UsageError: an element is none of these, or there is no element.
    """
    targets = list[Target]()
    for word in split_list(values):
        if word == "smc":
            targets += [Target(sparsity=sparsity, scope=scope) for sparsity in SMC_GRID]
        else:
            targets.append(Target.parse(word, scope=scope))
    if not targets:
        raise UsageError("--sparsity is empty; write numbers in [0, 1), patterns such as 2:4, or smc")
    return tuple(dict.fromkeys(targets))


def parse_budget(text: str) -> Budget:
    """A budget: `steps` or `flops`, a factor, and options: `flops=2:inside=0.8`.

    Raises:
        UnknownName: the measure is neither.
        UsageError: a value is wrong.
    """
    head, _, options = text.partition(":")
    measure, equals, factor = head.partition("=")
    if measure not in get_args(BudgetMeasure):
        raise UnknownName("budget of --match", measure, get_args(BudgetMeasure))
    fields = {"measure": measure, **({"factor": factor} if equals else {})}
    return parse_spec(Budget, {**fields, **parse_pairs([options], "--match")}, "option", f"--match {text}")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from a count or a list: `3` means 0, 1, 2; `0,1,2` is a list, and so is `5,`.

    Raises:
        UsageError: it is neither, or the count is 0.
    """
    numbers = _numbers(
        text, "--seeds", "a count such as 3, or a list such as 0,1,2 (`5,` with the comma for seed 5 only)"
    )
    if "," in text:
        return numbers
    if not 1 <= numbers[0] <= MOST_SEEDS:
        raise UsageError(
            f"--seeds {text} would be {counted(numbers[0], 'seed')}; "
            f"write `{numbers[0]},` (with the comma) for seed {numbers[0]} only"
        )
    return tuple(range(numbers[0]))


def parse_folds(text: str) -> tuple[int, ...] | None:
    """Folds from a list, counted from 0; None for `all`.

    Raises:
        UsageError: it is neither.
    """
    return None if text.strip() == "all" else _numbers(text, "--folds", "all, or a list such as 0,2")


def parse_workers(text: str) -> tuple[int, ...]:
    """One or more numbers of workers.

    Raises:
        UsageError: it is no list of numbers, or one of them is 0.
    """
    numbers = _numbers(text, "--workers", "a number such as 64, or several such as 1,8,64")
    if 0 in numbers:
        raise UsageError(f"--workers {text!r} has 0 workers; write numbers of 1 or more")
    return numbers


def _numbers(text: str, flag: str, wanted: str) -> tuple[int, ...]:
    words = split_list([text])
    if not words or not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
        raise UsageError(f"{flag} {text!r} cannot be read; write {wanted}")
    return tuple(dict.fromkeys(int(word) for word in words))


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
        meaning = next((f.description for n, f in kind.model_fields.items() if where in (n, f.alias)), None)
        about = f" ({where}: {' '.join(meaning.split())})" if meaning else ""
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
