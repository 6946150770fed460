"""A Sample: the items of one table cell, for each seed."""

# S seeds, N items, K numbers an item, G groups of items, B resamples.

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from smc_eval.score import ItemKind, Items
from smc_eval.statistics import bleu, rank, ratio
from smc_eval.statistics.shapes import Floats, Ints
from smc_eval.store.record import Record

SCORE_TOLERANCE = 1e-6
"""Largest relative difference between a record's score and the score computed from its items."""

ROW_WIDTHS = {"mean": 1, "rank": 2, "bleu": 10, "ratio": 2, "perplexity": 2}
"""Numbers of an item, by kind."""

REFERENCE_COLUMNS = {"mean": (1, 1), "rank": (1, 2), "bleu": (9, 10), "ratio": (1, 2), "perplexity": (1, 2)}
"""Columns of the reference, which are equal for every net, by kind."""

RANGES = {
    "rank": (-1.0, 1.0),
    "bleu": (0.0, 100.0),
    "percent": (0.0, 100.0),
    "perplexity": (1.0, math.inf),
}
"""The smallest and the largest score, by kind of items, and of a percentage."""

UNBOUNDED = (-math.inf, math.inf)

ItemsKey = tuple[tuple[object, ...], ...]
"""Identity of the items: fold, digest and limit of the data, number of examples and kind, by fold."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The items of one table cell, seeds x items; the folds of a seed follow each other."""

    kind: ItemKind
    rows_SNK: Floats
    groups_N: Ints
    """The group of each item: its fold, and its group within the fold. Items are drawn within groups."""
    weights_G: Floats
    """Weight of each group in the score: a fold's number of examples, in equal parts for its groups."""
    seeds: tuple[int, ...]
    data: ItemsKey = ()
    ends: tuple[float, float] = UNBOUNDED
    """The smallest and the largest score, as its metric says."""

    @classmethod
    def of(cls, records: Sequence[Record], items: Callable[[str], Items | None]) -> Sample | None:
        """The sample of one table cell's records; `items` returns the items of a record by its digest.

        None if a record has no items, if seeds differ in folds or items, or if the items do not
        reproduce their record's score.
        """
        seeds: dict[int, list[tuple[Record, Items]]] = {}
        for record in sorted(records, key=lambda record: (record.seed, record.fold or 0)):
            own = items(record.digest)
            if own is None or not _is_complete(own) or not _reproduces_score(own, record):
                return None
            seeds.setdefault(record.seed, []).append((record, own))
        identities = {tuple(_identity(*fold) for fold in folds) for folds in seeds.values()}
        if len(identities) != 1:
            return None
        (identity,) = identities
        folds = [own for _, own in next(iter(seeds.values()))]
        groups_N, weights_G = _grouped(folds)
        rows_SNK = np.array(
            [[row for _, own in folds for row in own.rows] for folds in seeds.values()], dtype=float
        )
        key, ends = tuple(i[:-1] for i in identity), ends_of(records)
        return cls(folds[0].kind, rows_SNK, groups_N, weights_G, tuple(seeds), key, ends)

    @classmethod
    def of_seeds(cls, values: Mapping[int, float], ends: tuple[float, float] = UNBOUNDED) -> Sample:
        """A sample of seeds' scores without items: one item a seed. `ends` are those of the score."""
        rows_SNK = np.array(list(values.values()), dtype=float).reshape(-1, 1, 1)
        return cls("mean", rows_SNK, np.zeros(1, dtype=np.intp), np.ones(1), tuple(values), ends=ends)

    @property
    def size(self) -> int:
        """Items of a seed; 0 if only the seeds' scores are known."""
        items = self.rows_SNK.shape[1]
        return items if items > 1 else 0

    @property
    def binary(self) -> bool:
        """Whether each item is wrong (0) or right (100)."""
        return bool(self.size) and self.kind == "mean" and bool(np.isin(self.rows_SNK, (0.0, 100.0)).all())

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest possible score."""
        return RANGES.get("percent" if self.binary else self.kind, self.ends)

    def values_S(self) -> Floats:
        """The score of each seed, its folds pooled."""
        return self.reweighted(np.ones((self.rows_SNK.shape[1], 1)))[:, 0]

    def value(self) -> float:
        """The value of the table: the mean over seeds."""
        values = self.values_S().tolist()
        return math.fsum(values) / len(values)

    def reweighted(self, counts_NB: Floats) -> Floats:
        """The score of each seed [S, B], with the count of each item in each resample."""
        total_SB = np.zeros((len(self.seeds), counts_NB.shape[1]))
        for group, weight in enumerate(self.weights_G):
            inside = self.groups_N == group
            total_SB += weight * _reweighted(self.kind, self.rows_SNK[:, inside], counts_NB[inside])
        return np.asarray(total_SB / self.weights_G.sum())

    def parts_SN(self) -> Floats:
        """Influence of each item on its seed's score, to first order; each group sums to zero.

        Exact for means; influence functions for other scores.
        """
        parts_SN = np.zeros(self.rows_SNK.shape[:2])
        for group, weight in enumerate(self.weights_G / self.weights_G.sum()):
            inside = self.groups_N == group
            influence_SN = _influence(self.kind, self.rows_SNK[:, inside])
            parts_SN[:, inside] = weight * influence_SN / influence_SN.shape[1]
        return parts_SN

    def same_items(self, other: Sample) -> bool:
        """Whether both have the same items in the same order."""
        same = self.kind == other.kind and self.data == other.data
        if not same or not np.array_equal(self.groups_N, other.groups_N):
            return False
        reference = slice(*REFERENCE_COLUMNS[self.kind])
        return bool((self.rows_SNK[:1, :, reference] == other.rows_SNK[:1, :, reference]).all())

    def only(self, seeds: Sequence[int]) -> Sample:
        """The sample of some of its seeds, in the given order."""
        rows_SNK = self.rows_SNK[[self.seeds.index(seed) for seed in seeds]]
        return Sample(self.kind, rows_SNK, self.groups_N, self.weights_G, tuple(seeds), self.data, self.ends)

    def by_seed(self) -> Sample:
        """The scores of the same seeds, without items."""
        return Sample.of_seeds(dict(zip(self.seeds, self.values_S().tolist(), strict=True)), self.range)


def ends_of(records: Sequence[Record]) -> tuple[float, float]:
    """The smallest and the largest score of some records, by the words of their metric; else unbounded.

    A range that a score leaves is not that of the metric.
    """
    scores = [record.score for record in records if record.score]
    metrics = {score.metric.lower() for score in scores}
    (metric,) = metrics if len(metrics) == 1 else ("",)
    words = set(re.findall(r"\w+|%", metric))
    if words & {"%", "bleu", "sacrebleu"}:
        ends = RANGES["percent"]
    elif "rho" in words or {"rank", "correlation"} <= words:
        ends = RANGES["rank"]
    else:
        return UNBOUNDED
    low, high = ends[0] - 1e-6, ends[1] + 1e-6  # a perfect BLEU is 100.00000000000004
    return ends if all(low <= score.value <= high for score in scores) else UNBOUNDED


def _reweighted(kind: str, rows_SNK: Floats, counts_NB: Floats) -> Floats:
    match kind:
        case "rank":
            return rank.resampled_rho(rows_SNK, counts_NB)
        case "bleu":
            return bleu.resampled_bleu(rows_SNK, counts_NB)
        case "ratio":
            return ratio.resampled_ratio(rows_SNK, counts_NB)
        case "perplexity":
            return np.exp(ratio.resampled_ratio(rows_SNK, counts_NB))
    return np.asarray(rows_SNK[..., 0] @ counts_NB / counts_NB.sum(axis=0))


def _influence(kind: str, rows_SNK: Floats) -> Floats:
    match kind:
        case "rank":
            return rank.rho_influence(rows_SNK)
        case "bleu":
            return bleu.bleu_influence(rows_SNK)
        case "ratio":
            return ratio.ratio_influence(rows_SNK)
        case "perplexity":  # the derivative of exp
            return ratio.ratio_influence(rows_SNK) * np.exp(ratio.ratio(rows_SNK))[:, None]
    return np.asarray(rows_SNK[..., 0] - rows_SNK[..., 0].mean(axis=1, keepdims=True))


def _identity(record: Record, items: Items) -> tuple[object, ...]:
    """Parts of a fold that must be equal for two seeds to have the same items."""
    reference = tuple(row[slice(*REFERENCE_COLUMNS[items.kind])] for row in items.rows)
    data = record.data
    fold = (record.fold, data.digest, data.limited, len(items.rows), items.kind)
    return (*fold, (items.groups, reference))


def _is_complete(items: Items) -> bool:
    """Whether there are items, each with the right number of columns."""
    lengths = {len(row) for row in items.rows}
    return lengths == {ROW_WIDTHS.get(items.kind)} and len(items.groups) in {0, len(items.rows)}


def _reproduces_score(items: Items, record: Record) -> bool:
    """Whether the score computed from a record's items is the record's score."""
    if record.score is None:
        return False
    groups_N, weights_G = _grouped([items])
    rows_SNK = np.array([items.rows], dtype=float)
    value = Sample(items.kind, rows_SNK, groups_N, weights_G, (0,)).value()
    return math.isclose(value, record.score.value, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)


def _grouped(folds: Sequence[Items]) -> tuple[Ints, Floats]:
    """The group of each item, and the weight of each group."""
    groups: list[int] = []
    weights: list[float] = []
    for fold in folds:
        names = {name: len(weights) + at for at, name in enumerate(dict.fromkeys(fold.groups or ("",)))}
        groups += [names[name] for name in (fold.groups or ("",) * len(fold.rows))]
        weights += [len(fold.rows) / len(names) if len(folds) > 1 else 1.0] * len(names)
    return np.array(groups, dtype=np.intp), np.array(weights)
