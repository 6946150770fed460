"""Parsing: the values of flags, read from text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import get_args

from smc_eval.errors import UnknownName, UsageError, counted
from smc_eval.experiment.budget import Budget, BudgetMeasure
from smc_eval.experiment.spec_text import parse_spec
from smc_eval.target import SMC_GRID, Scope, Target

MOST_SEEDS = 100
"""A larger count is refused: it is probably meant as one seed."""


_GROUP = re.compile(r"[a-z0-9]+([-/][a-z0-9]+)*")


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
