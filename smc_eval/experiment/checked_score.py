"""Checked score: what a task answers must be numbers that a record can hold, before it becomes a result."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from smc_eval.errors import DataError, PluginError
from smc_eval.score import Items, Score
from smc_eval.task import Task


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
                f"{task.identity} predicted {_named(prediction)} for example {number}; wanted plain JSON "
                "values: use .tolist() or .item()"
            ) from None


def check_score(task: Task, score: Any) -> None:
    """Refuse a score that no record can hold, or that is no number.

    Raises:
        PluginError: it is no `Score`, one of its numbers is not a finite number of Python, or it has no
            example; names the task.
    """
    if not isinstance(score, Score):
        raise PluginError(f"{task.identity} gave {_named(score)} as its score; wanted a smc_eval.Score")
    numbers = {"value": score.value} | {f"also[{name!r}]": value for name, value in score.also.items()}
    for name, value in numbers.items():
        if type(value) not in {int, float} or not math.isfinite(value):
            raise PluginError(
                f"{task.identity} gave a score whose {name} is {_named(value)}; "
                "wanted a finite int or float of Python"
            )
    counts = {"n": score.n} | {f"also_n[{name!r}]": count for name, count in score.also_n.items()}
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise PluginError(
                f"{task.identity} gave a score whose {name} is {_named(count)}; "
                "wanted the number of scored examples, 1 or more"
            )
    for name, text in {"metric": score.metric, "signature": score.signature}.items():
        if not isinstance(text, str):
            raise PluginError(f"{task.identity} gave a score whose {name} is {_named(text)}; wanted text")
    if score.items is not None:
        _check_items(task, score.items)


def _check_items(task: Task, items: Items) -> None:
    for number, row in enumerate(items.rows, 1):
        wrong = [value for value in row if type(value) not in {int, float}]
        if wrong:
            raise PluginError(
                f"{task.identity} gave {_named(wrong[0])} in row {number} of the items of its score; "
                "wanted an int or float of Python"
            )


def _named(value: Any) -> str:
    """A value with its type, in one short line: `nan (float)`, `3.5 (numpy.float32)`."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    text = " ".join(str(value).split())
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({name})"
