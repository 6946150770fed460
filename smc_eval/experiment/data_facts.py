"""Facts about a task's data that a reader of its score must know: repeated, dropped and unknown parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from smc_eval import capabilities
from smc_eval.experiment.checked_score import checked_score
from smc_eval.score import Score
from smc_eval.task import Task

WITHOUT_REPEATS = "without_repeats"
"""Name of the score of the test examples that are not repeated, each once."""


@dataclass(frozen=True)
class Repeats:
    """Test examples whose input the net has read before. An example can count in both numbers."""

    in_train: int
    """Number of test examples that also stand in the training data."""
    in_test: int
    """Number of test examples that stand earlier in the test data."""


@dataclass(frozen=True)
class DataFacts:
    """What was counted in a task's data."""

    repeats: Repeats | None = None
    """None if the inputs of two examples cannot be compared."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of examples that are left out of each part, because they are incomplete."""
    unknown_tokens: Mapping[str, float] = field(default_factory=dict)
    """Share of unknown tokens in the test data, in [0, 1], by language."""


def data_facts(task: Task, data_digest: str) -> DataFacts:
    """The facts about a task's data, counted once a process. Reads the training data and the test data.

    Raises:
        DataError: a file is missing or malformed.
        ModelError: the tokenizer of the task's model cannot be loaded.
    """
    return _data_facts(_Data(task.digest(), task.folder, data_digest, task))


def count_repeats(task: Task, data_digest: str) -> Repeats | None:
    """The test examples that are not new; None if the inputs of two examples cannot be compared."""
    repeated = _repeated(_Data(task.digest(), task.folder, data_digest, task))
    if repeated is None:
        return None
    return Repeats(*(sum(flags[kind] for flags in repeated) for kind in (0, 1)))


def score_ceiling(task: Task, data_digest: str) -> Mapping[str, float]:
    """The highest possible score of each part of a score, computed once a process; empty if not known."""
    return _score_ceiling(_Data(task.digest(), task.folder, data_digest, task))


def full_score(task: Task, predicted: Sequence[Any], examples: Sequence[Any], data_digest: str) -> Score:
    """The score of the test examples, and among its further numbers the score without the repeated ones.

    Of examples that stand several times in the test data, the first one stays.

    Raises:
        PluginError: no record can hold the predictions or the score; names the task.
    """
    score = checked_score(task, predicted, examples)
    repeated = _repeated(_Data(task.digest(), task.folder, data_digest, task))
    if repeated is None or not any(any(flags) for flags in repeated):
        return score
    kept = [number for number, flags in enumerate(repeated) if not any(flags)]
    value = task.score([predicted[i] for i in kept], [examples[i] for i in kept]).value if kept else math.nan
    if not math.isfinite(value):
        return score
    return replace(
        score,
        also={**score.also, WITHOUT_REPEATS: value},
        also_n={**score.also_n, WITHOUT_REPEATS: len(kept)},
    )


@dataclass(frozen=True)
class _Data:
    """The data of a task; equal if the digests are."""

    task_digest: str
    folder: str
    data_digest: str
    task: Task = field(compare=False, repr=False)


@lru_cache(maxsize=32)
def _repeated(data: _Data) -> list[tuple[bool, bool]] | None:
    """For each test example, whether it stands in the training data, and earlier in the test data."""
    task, trained = data.task, capabilities.trained_as(data.task)
    contents = [capabilities.content(task, example) for example in task.data("test")]
    if None in contents:
        return None
    tested, seen = set(contents), set[Any]()
    # only what is in the test data is remembered: training data can be much larger
    in_train = tested.intersection(capabilities.content(trained, row) for row in trained.data("train"))
    flags = []
    for content in contents:
        flags.append((content in in_train, content in seen))
        seen.add(content)
    return flags


@lru_cache(maxsize=32)
def _data_facts(data: _Data) -> DataFacts:
    return DataFacts(
        count_repeats(data.task, data.data_digest),
        capabilities.left_out_examples(data.task),
        capabilities.unknown_tokens(data.task, data.task.data("test")),
    )


@lru_cache(maxsize=32)
def _score_ceiling(data: _Data) -> Mapping[str, float]:
    return capabilities.ceiling(data.task, data.task.data("test"))
