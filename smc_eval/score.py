"""A Score: a number with its metric, its number of examples and its signature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

ItemKind = Literal["mean", "rank", "bleu", "ratio", "perplexity"]


@dataclass(frozen=True)
class Items:
    """The contribution of each example to a score. It allows resampling without net, task or data."""

    kind: ItemKind
    """Score of the rows: their mean, Spearman's rank correlation, corpus BLEU, the sum of the first numbers
    over that of the second, or the exponential of such a ratio."""
    rows: tuple[tuple[float, ...], ...]
    """One row for each example, in the order of the examples. mean: the value, in the metric's unit. rank:
    prediction and true value. bleu: matching n-grams (n = 1 to 4), predicted n-grams (n = 1 to 4),
    predicted words, reference words. ratio: numerator and denominator. perplexity: the sum of -log p over the
    scored tokens, and their number, or that of another unit such as bytes."""
    groups: tuple[str, ...] = ()
    """Group of each example, if the score is a mean over groups, such as translation directions."""


@dataclass(frozen=True)
class Score:
    """The result of `Task.score`: one number, with all that is needed to compare it."""

    metric: str
    """Name of the metric, with its unit: that of the task's card."""
    value: float
    """The score, in the metric's unit: per cent for accuracy."""
    n: int
    """Number of scored examples."""
    higher_is_better: bool = True
    signature: str = ""
    """Details that must be equal for two scores to be comparable."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Further scores of the same predictions, by name, in the same unit."""
    also_n: Mapping[str, int] = field(default_factory=dict)
    """Number of examples of each further score, unless it is `n`."""
    ceiling: Mapping[str, float] = field(default_factory=dict)
    """Highest possible score of each part, if predictions cannot be perfect. The engine sets it."""
    items: Items | None = field(default=None, repr=False, compare=False)
    """The contribution of each example. It is stored beside the record, not in it."""


def accuracy(right: Sequence[bool], metric: str, signature: str, **also: Sequence[bool]) -> Score:
    """Accuracy in per cent.

    Args:
        right: for each example, whether its prediction is right.
        also: the same for other sets of examples; each gives a further score.
    """

    def percent(flags: Sequence[bool]) -> float:
        return 100 * sum(flags) / len(flags) if flags else math.nan

    further = {name: percent(flags) for name, flags in also.items() if flags}
    counts = {name: len(also[name]) for name in further}
    items = Items("mean", tuple((100.0 * flag,) for flag in right))
    return Score(
        metric, percent(right), len(right), signature=signature, also=further, also_n=counts, items=items
    )


def pooled(values: Sequence[float], counts: Sequence[int]) -> float:
    """Mean over folds, weighted by their numbers of examples: the micro average for accuracies."""
    return sum(value * count for value, count in zip(values, counts, strict=True)) / sum(counts)
