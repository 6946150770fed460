"""A Score: a number with its metric, its count and the signature that says how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Items:
    """What each example adds to a score: enough to resample the score without net, task or data."""

    kind: Literal["mean", "rank", "bleu"]
    """How rows become a score: their mean; Spearman's rank correlation of pairs; corpus BLEU."""
    rows: tuple[tuple[float, ...], ...]
    """One an example, in the examples' order. mean: the value, in the metric's unit. rank: what was
    predicted, what was right. bleu: n-grams right (1 to 4), n-grams said (1 to 4), words said, wanted."""
    groups: tuple[str, ...] = ()
    """The group of each example, where the score is the mean over groups: a translation's directions."""


@dataclass(frozen=True)
class Score:
    """What a task reports of one net."""

    metric: str
    value: float
    """In the metric's usual unit: per cent for accuracy."""
    n: int
    """Examples scored."""
    higher_is_better: bool = True
    signature: str = ""
    """Everything that two numbers must share to be comparable."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Further numbers of the same predictions, by name, in the same unit."""
    also_n: Mapping[str, int] = field(default_factory=dict)
    """Examples of each further number, where they are not all."""
    items: Items | None = field(default=None, repr=False, compare=False)
    """What it was made of; kept beside the record, not in it."""


def accuracy(right: Sequence[bool], metric: str, signature: str, **also: Sequence[bool]) -> Score:
    """Share of right answers in per cent; `also` holds further sequences of right and wrong."""

    def percent(answers: Sequence[bool]) -> float:
        return 100 * sum(answers) / len(answers) if answers else math.nan

    further = {name: percent(answers) for name, answers in also.items() if answers}
    counts = {name: len(also[name]) for name in further}
    items = Items("mean", tuple((100.0 * one,) for one in right))
    return Score(
        metric, percent(right), len(right), signature=signature, also=further, also_n=counts, items=items
    )


def pooled(values: Sequence[float], counts: Sequence[int]) -> float:
    """Mean over folds, each fold weighted by its examples: the micro average for accuracies."""
    return sum(value * count for value, count in zip(values, counts, strict=True)) / sum(counts)
