"""Words: the small languages of the command line, read into values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment.budget import Budget, BudgetMeasure
from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.target import SMC_GRID, Scope, Target

MOST_SEEDS = 100
"""A count of seeds above this is taken for a seed, and refused."""

S = TypeVar("S", bound=Spec)

_GROUP = re.compile(r"[a-z0-9]+([-/][a-z0-9]+)*")


def split_list(values: Iterable[str]) -> list[str]:
    """The words of comma lists, in order; a comma inside brackets parts nothing."""
    return [word for text in values for part in re.split(r",(?![^\[]*\])", text) if (word := part.strip())]


def parse_pairs(values: Iterable[str], flag: str) -> dict[str, str]:
    """`key=value,…` as a mapping; what is said later holds.

    Raises:
        UsageError: a word has no `=`.
    """
    found = dict[str, str]()
    for word in split_list(values):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{flag} {word!r} is no key=value")
        found[key.strip()] = value.strip()
    return found


def parse_named(values: Iterable[str], noun: str) -> list[tuple[str, dict[str, str]]]:
    """Names and options from words such as `lth:share=0.1,early=0.05,dense`.

    After a comma, `key=value` goes on with the options of the one before it. `noun` says what
    they are: a method, a task.

    Raises:
        UsageError: an option is no `key=value`, stands twice or follows no name.
    """
    found = list[tuple[str, dict[str, str]]]()
    for text in values:
        begun = False
        for word in split_list([text]):
            option = word
            if "=" not in word or ":" in word.partition("=")[0]:
                name, _, option = word.partition(":")
                found.append((name, {}))
                begun = True
            elif not begun:
                raise UsageError(f"{text!r} gives option {word!r} to no {noun}; write NAME:{word}")
            name, options = found[-1]
            if not option:
                continue
            key, equals, value = option.partition("=")
            if not equals or not key:
                raise UsageError(f"option {option!r} of {noun} {name!r} is no key=value")
            if key in options:
                raise UsageError(f"option {key!r} of {noun} {name!r} is given twice")
            options[key] = value
    return found


def parse_models(values: Iterable[str]) -> dict[str | None, list[str]]:
    """Models by the group or task they are for; None where none is named: `WORD`, `GROUP=WORD`.

    Raises:
        UsageError: a word is empty.
    """
    found = dict[str | None, list[str]]()
    for text in values:
        head, equals, word = text.partition("=")
        group: str | None = head
        if not equals or not _GROUP.fullmatch(head):  # a folder's name may hold a `=`
            group, word = None, text
        if not word:
            raise UsageError(f"--model {text!r} names no model; write WORD or GROUP=WORD")
        found.setdefault(group, []).append(word)
    return found


def parse_targets(values: Iterable[str], scope: Scope) -> tuple[Target, ...]:
    """Targets, each once, from numbers, `N:M` and `smc`, the ten exact points of the paper.

    Raises:
        UsageError: a word is none of these, or there is no word.
    """
    found = list[Target]()
    for word in split_list(values):
        if word == "smc":
            found += [Target(sparsity=sparsity, scope=scope) for sparsity in SMC_GRID]
        else:
            found.append(Target.parse(word, scope=scope))
    if not found:
        raise UsageError("--sparsity is empty; write numbers in [0, 1), patterns such as 2:4, or smc")
    return tuple(dict.fromkeys(found))


def parse_budget(text: str) -> Budget:
    """A budget: `steps` or `flops`, how many times it, and options: `flops=2:inside=0.8`.

    Raises:
        UnknownName: it is neither.
        UsageError: a value is not what it should be.
    """
    head, _, options = text.partition(":")
    measure, equals, factor = head.partition("=")
    if measure not in get_args(BudgetMeasure):
        raise UnknownName("budget to --match", measure, get_args(BudgetMeasure))
    said = {"measure": measure, **({"factor": factor} if equals else {}), **parse_pairs([options], "--match")}
    return parse_spec(Budget, said, "option", f"--match {text}")


def parse_seeds(text: str) -> tuple[int, ...]:
    """`3` is a count and means 0, 1, 2; `0,1,2` is a list, and so is `5,`.

    Raises:
        UsageError: it is neither, or the count is 0.
    """
    numbers = _numbers(text, "--seeds", "a count such as 3, or a list such as 0,1,2 (5, for seed 5 alone)")
    if "," in text:
        return numbers
    if not 1 <= numbers[0] <= MOST_SEEDS:
        raise UsageError(
            f"--seeds {text} would be {numbers[0]} seeds; write {numbers[0]}, for that seed alone"
        )
    return tuple(range(numbers[0]))


def parse_folds(text: str) -> tuple[int, ...] | None:
    """`all` is None, every fold; otherwise a list, counted from 0.

    Raises:
        UsageError: it is neither.
    """
    return None if text.strip() == "all" else _numbers(text, "--folds", "all, or a list such as 0,2")


def parse_workers(text: str) -> tuple[int, ...]:
    """A number of workers, or several.

    Raises:
        UsageError: it is neither, or nobody would work.
    """
    numbers = _numbers(text, "--workers", "a number such as 64, or several such as 1,8,64")
    if 0 in numbers:
        raise UsageError(f"--workers {text!r} has nobody at work; write numbers of 1 or more")
    return numbers


def _numbers(text: str, flag: str, wanted: str) -> tuple[int, ...]:
    words = split_list([text])
    if not words or not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
        raise UsageError(f"{flag} {text!r} cannot be read; write {wanted}")
    return tuple(dict.fromkeys(int(word) for word in words))


def amend_recipe(recipe: Recipe, changes: Mapping[str, Any], whose: str) -> Recipe:
    """The recipe with other fields; `epochs` takes the place of `steps`, and the other way round.

    Raises:
        UnknownName: a recipe has no such field.
        UsageError: a value is not what the field wants.
    """
    fields = {name: getattr(recipe, name) for name in Recipe.model_fields}
    for length in ("epochs", "steps"):
        if length in changes:
            fields |= {"epochs": None, "steps": None}
    return parse_spec(Recipe, {**fields, **changes}, "field", whose)


def parse_spec(kind: type[S], words: Mapping[str, Any], noun: str, whose: str) -> S:
    """A Spec from words; `none` is None where that is allowed, `[a,b]` a list, `a.b=…` a field's field.

    Raises:
        UnknownName: the Spec has no such field; says the nearest.
        UsageError: a value is not what its field wants; says what the field means.
    """
    return check_spec(kind, _meant(kind, words, noun, whose), noun, whose)


def check_spec(kind: type[S], values: Mapping[str, Any], noun: str, whose: str) -> S:
    """A Spec from values, what is wrong with them told in words.

    Raises:
        UnknownName: the Spec has no such field; says the nearest.
        UsageError: a value is not what its field wants; says what the field means.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UnknownName(f"{noun} of {whose}", where, _names(kind)) from None
        wish = first["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
        if not where:
            raise UsageError(f"{whose}: {wish}") from None
        meaning = next((f.description for n, f in kind.model_fields.items() if where in (n, f.alias)), None)
        about = f" ({where}: {' '.join(meaning.split())})" if meaning else ""
        raise UsageError(f"{noun} {where!r} of {whose} is {first['input']!r}; {wish}{about}") from None


def _names(kind: type[Spec]) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items()]


def _meant(kind: type[Spec], words: Mapping[str, Any], noun: str, whose: str) -> dict[str, Any]:
    """Words as the values they stand for, as far as pydantic would not see it."""
    found, inner = dict[str, Any](), dict[str, dict[str, Any]]()
    for key, value in words.items():
        head, dot, rest = key.partition(".")
        if dot:
            inner.setdefault(head, {})[rest] = value
            continue
        found[key] = _value(kind, key, value, f"{noun} {key!r} of {whose}")
    for head, part in inner.items():
        found[head] = _within(kind, head, part, noun, whose)
    return found


def _value(kind: type[Spec], key: str, value: object, named: str) -> object:
    field = kind.model_fields.get(key)
    if value == "none" and field and type(None) in get_args(field.annotation):
        return None
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise UsageError(f"{named} is {value!r}, no list such as [0.9,0.98]") from None
    return value


def _within(kind: type[Spec], head: str, part: Mapping[str, Any], noun: str, whose: str) -> Spec:
    """A Spec that is an option of another one, with some of its fields said."""
    field = kind.model_fields.get(head)
    candidates = (field.annotation, *get_args(field.annotation)) if field else ()
    specs = [c for c in candidates if isinstance(c, type) and issubclass(c, Spec)]
    if not field or not specs:
        raise UnknownName(f"{noun} of {whose}", f"{head}.{next(iter(part))}", _names(kind))
    owner = f"{head!r} of {whose}"
    if isinstance(field.default, Recipe):
        return amend_recipe(field.default, part, owner)
    now = {n: getattr(field.default, n) for n in type(field.default).model_fields} if field.default else {}
    return parse_spec(specs[0], {**now, **part}, "field", owner)
