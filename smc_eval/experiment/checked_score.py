"""Checked score: what a task answers must be numbers that a record can hold, before it becomes a result."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from smc_eval.errors import DataError, PluginError, named_value
from smc_eval.score import ItemKind, Items, Score
from smc_eval.task import Task

MOST_EXAMPLES = 10**30
"""More is no number of examples, and no record holds it."""


def reported_examples(task: Task) -> Sequence[Any]:
    """The examples of the reported split.

    Raises:
        DataError: there are none.
    """
    examples = task.data("test")
    if not len(examples):
        raise DataError(f"{task.identity} has no test examples; a score of nothing is no result")
    return examples


def checked_score(task: Task, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
    """The score of some predictions, if a record can hold both.

    Raises:
        PluginError: a prediction is no plain JSON value, or a number of the score is not a finite number of
            Python; names the task.
    """
    check_predictions(task, predicted)
    score = task.score(predicted, examples)
    check_score(task, score)
    return score


def check_predictions(task: Task, predicted: Sequence[Any]) -> None:
    """Refuse predictions that are not plain JSON values.

    Raises:
        PluginError: a prediction is, for example, a tensor; names the task.
    """
    for number, prediction in enumerate(predicted, 1):
        try:
            json.dumps(prediction)
        except (TypeError, ValueError, RecursionError):
            raise PluginError(
                f"{task.identity} predicted {named_value(prediction)} for example {number}; "
                "wanted plain JSON values: use .tolist() or .item()"
            ) from None


def check_score(task: Task, score: Any) -> None:
    """Refuse a score that no record can hold, or that is no number.

    Raises:
        PluginError: it is no `Score`, one of its numbers is not a finite number of Python, it has no
            example, or its items have another form or another mean; names the task.
    """
    if not isinstance(score, Score):
        raise PluginError(f"{task.identity} gave {named_value(score)} as its score; wanted a smc_eval.Score")
    _check_fields(task, score)
    numbers = {"value": score.value} | {f"also[{name!r}]": value for name, value in score.also.items()}
    for name, value in numbers.items():
        if not _is_number(value) or not _is_finite(value):
            raise PluginError(
                f"{task.identity} gave a score whose {name} is {named_value(value)}; "
                "wanted a finite int or float of Python"
            )
    counts = {"n": score.n} | {f"also_n[{name!r}]": count for name, count in score.also_n.items()}
    for name, count in counts.items():
        if type(count) is not int or not 1 <= count <= MOST_EXAMPLES:
            raise PluginError(
                f"{task.identity} gave a score whose {name} is {named_value(count)}; "
                "wanted the number of scored examples, 1 or more"
            )
    percent = score.metric.lower().endswith("accuracy (%)") or score.metric.lower() in {"bleu", "sacrebleu"}
    if percent and not -1e-6 <= score.value <= 100 + 1e-6:  # a perfect BLEU is 100.00000000000004
        raise PluginError(f"{task.identity} gave the score {score.value:g}; {score.metric} is from 0 to 100")
    if score.items is not None:
        _check_items(task, score, score.items)


def _check_fields(task: Task, score: Score) -> None:
    """Refuse fields of another type than a record holds."""
    fits = {
        "metric": isinstance(score.metric, str),
        "signature": isinstance(score.signature, str),
        "higher_is_better": type(score.higher_is_better) is bool,
        "also": _is_by_name(score.also),
        "also_n": _is_by_name(score.also_n),
    }
    wanted = {"higher_is_better": "True or False", "also": "values by name", "also_n": "values by name"}
    for name, fit in fits.items():
        if not fit:
            raise PluginError(
                f"{task.identity} gave a score whose {name} is {named_value(getattr(score, name))}; "
                f"wanted {wanted.get(name, 'text')}"
            )


def _check_items(task: Task, score: Score, items: Any) -> None:
    """Refuse items of another form, and those of which the score is not the mean."""
    whole = isinstance(items, Items) and items.kind in get_args(ItemKind)
    if not whole or not all(isinstance(part, Sequence) for part in (items.rows, items.groups, *items.rows)):
        raise PluginError(
            f"{task.identity} gave {named_value(items)} as the items of its score; "
            f"wanted smc_eval.score.Items of a kind ({', '.join(get_args(ItemKind))}), "
            "with a row of numbers for each example"
        )
    for number, row in enumerate(items.rows, 1):
        wrong = [value for value in row if not _is_number(value)]
        if wrong:
            raise PluginError(
                f"{task.identity} gave {named_value(wrong[0])} in row {number} of the items of its score; "
                "wanted an int or float of Python"
            )
    if items.kind != "mean" or items.groups:
        return
    values = [row[0] for row in items.rows if len(row) == 1]
    mean = sum(values) / len(values) if values else math.nan
    if len(values) != score.n or not math.isclose(mean, score.value, rel_tol=1e-6, abs_tol=1e-6):
        raise PluginError(
            f"{task.identity} gave a score of {score.value:g} for {score.n} examples, whose items are "
            f"{len(values)} values with mean {mean:g}; wanted one value for each example, with this mean"
        )


def _is_number(value: object) -> bool:
    return type(value) in {int, float}


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def _is_by_name(value: object) -> bool:
    return isinstance(value, Mapping) and all(type(key) is str for key in value)
