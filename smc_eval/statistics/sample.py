"""A Sample: what each item adds to one number of the table, for each seed."""

# S seeds, N items, K numbers an item, G groups of items, B resamples.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from smc_eval.score import Items
from smc_eval.statistics import bleu, rank
from smc_eval.statistics.shapes import Floats, Ints
from smc_eval.store.record import Record

SCORE_TOLERANCE = 1e-6
"""How far a score made again from its items may lie from its record's, relative to it."""

ROW_WIDTHS = {"mean": 1, "rank": 2, "bleu": 10}
"""Numbers an item, by kind."""

REFERENCE_COLUMNS = {"mean": (1, 1), "rank": (1, 2), "bleu": (9, 10)}
"""Which of these numbers are what was asked, and so the same for every net."""

ItemsKey = tuple[tuple[object, ...], ...]
"""Which items they are: fold, digest and limit of the data, examples, of each fold."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The items of one square, seeds x items; those of a seed's folds follow each other."""

    kind: Literal["mean", "rank", "bleu"]
    rows_SNK: Floats
    groups_N: Ints
    """The group of each item: its fold, and within it its group. Items are drawn within groups."""
    weights_G: Floats
    """What each group counts in the score: a fold as many as it has examples, its groups equally."""
    seeds: tuple[int, ...]
    data: ItemsKey = ()

    @classmethod
    def of(cls, records: Sequence[Record], items: Callable[[str], Items | None]) -> Sample | None:
        """The sample of one square's records; `items` finds a record's by its digest.

        None where one has none, where seeds differ in folds or items, or where items do not make
        their record's score again.
        """
        seeds: dict[int, list[tuple[Record, Items]]] = {}
        for record in sorted(records, key=lambda record: (record.seed, record.fold or 0)):
            found = items(record.digest)
            if found is None or not _whole(found) or not _makes(found, record):
                return None
            seeds.setdefault(record.seed, []).append((record, found))
        identities = {tuple(_identity(record, found) for record, found in folds) for folds in seeds.values()}
        if len(identities) != 1:
            return None
        (identity,) = identities
        folds = [found for _, found in next(iter(seeds.values()))]
        groups_N, weights_G = _grouped(folds)
        rows_SNK = np.array(
            [[row for _, found in folds for row in found.rows] for folds in seeds.values()], dtype=float
        )
        return cls(
            folds[0].kind, rows_SNK, groups_N, weights_G, tuple(seeds), tuple(i[:-1] for i in identity)
        )

    @classmethod
    def of_seeds(cls, values: Mapping[int, float]) -> Sample:
        """A sample of which only each seed's score is known: one item a seed, which tells of no other."""
        rows_SNK = np.array(list(values.values()), dtype=float).reshape(-1, 1, 1)
        return cls("mean", rows_SNK, np.zeros(1, dtype=np.intp), np.ones(1), tuple(values))

    @property
    def size(self) -> int:
        """Items of a seed; 0 where only seeds' scores are known."""
        items = self.rows_SNK.shape[1]
        return items if items > 1 else 0

    @property
    def binary(self) -> bool:
        """Whether each item is wrong (0) or right (100)."""
        return bool(self.size) and self.kind == "mean" and bool(np.isin(self.rows_SNK, (0.0, 100.0)).all())

    def values_S(self) -> Floats:
        """The score of each seed, its folds pooled."""
        return self.under(np.ones((self.rows_SNK.shape[1], 1)))[:, 0]

    def value(self) -> float:
        """The number of the table: the mean over seeds."""
        values = self.values_S().tolist()
        return math.fsum(values) / len(values)

    def under(self, counts_NB: Floats) -> Floats:
        """The score of each seed [S, B] if each item occurred so often in each resample."""
        total_SB = np.zeros((len(self.seeds), counts_NB.shape[1]))
        for group, weight in enumerate(self.weights_G):
            inside = self.groups_N == group
            total_SB += weight * _under(self.kind, self.rows_SNK[:, inside], counts_NB[inside])
        return np.asarray(total_SB / self.weights_G.sum())

    def parts_SN(self) -> Floats:
        """What each item adds to the error of its seed's score, to first order: each group's sum to zero.

        Exact for means; influence functions for the others.
        """
        parts_SN = np.zeros(self.rows_SNK.shape[:2])
        for group, weight in enumerate(self.weights_G / self.weights_G.sum()):
            inside = self.groups_N == group
            moved = _influence(self.kind, self.rows_SNK[:, inside])
            parts_SN[:, inside] = weight * moved / moved.shape[1]
        return parts_SN

    def same_items(self, other: Sample) -> bool:
        """Whether item for item both were asked the same."""
        same = self.kind == other.kind and self.data == other.data
        if not same or not np.array_equal(self.groups_N, other.groups_N):
            return False
        asked = slice(*REFERENCE_COLUMNS[self.kind])
        return bool((self.rows_SNK[:1, :, asked] == other.rows_SNK[:1, :, asked]).all())

    def only(self, seeds: Sequence[int]) -> Sample:
        """The sample of some of its seeds, in that order."""
        rows_SNK = self.rows_SNK[[self.seeds.index(seed) for seed in seeds]]
        return Sample(self.kind, rows_SNK, self.groups_N, self.weights_G, tuple(seeds), self.data)

    def by_seed(self) -> Sample:
        """The same seeds' scores without their items."""
        return Sample.of_seeds(dict(zip(self.seeds, self.values_S().tolist(), strict=True)))


def _under(kind: str, rows_SNK: Floats, counts_NB: Floats) -> Floats:
    match kind:
        case "rank":
            return rank.resampled_rho(rows_SNK, counts_NB)
        case "bleu":
            return bleu.resampled_bleu(rows_SNK, counts_NB)
    return np.asarray(rows_SNK[..., 0] @ counts_NB / counts_NB.sum(axis=0))


def _influence(kind: str, rows_SNK: Floats) -> Floats:
    match kind:
        case "rank":
            return rank.rho_influence(rows_SNK)
        case "bleu":
            return bleu.bleu_influence(rows_SNK)
    return np.asarray(rows_SNK[..., 0] - rows_SNK[..., 0].mean(axis=1, keepdims=True))


def _identity(record: Record, items: Items) -> tuple[object, ...]:
    """What two seeds must share of a fold for their items to be the same."""
    right = tuple(row[slice(*REFERENCE_COLUMNS[items.kind])] for row in items.rows)
    data = record.data
    known = (record.fold, data.digest, data.limited, len(items.rows), items.kind)
    return (*known, (items.groups, right))


def _whole(items: Items) -> bool:
    """Whether there are items, each of as many numbers as its kind has."""
    lengths = {len(row) for row in items.rows}
    return lengths == {ROW_WIDTHS.get(items.kind)} and len(items.groups) in {0, len(items.rows)}


def _makes(items: Items, record: Record) -> bool:
    """Whether a record's items make its score again."""
    if record.score is None:
        return False
    groups_N, weights_G = _grouped([items])
    rows_SNK = np.array([items.rows], dtype=float)
    value = Sample(items.kind, rows_SNK, groups_N, weights_G, (0,)).value()
    return math.isclose(value, record.score.value, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)


def _grouped(folds: Sequence[Items]) -> tuple[Ints, Floats]:
    """The group of each item, and each group's weight."""
    groups: list[int] = []
    weights: list[float] = []
    for fold in folds:
        names = {name: len(weights) + at for at, name in enumerate(dict.fromkeys(fold.groups or ("",)))}
        groups += [names[name] for name in (fold.groups or ("",) * len(fold.rows))]
        weights += [len(fold.rows) / len(names) if len(folds) > 1 else 1.0] * len(names)
    return np.array(groups, dtype=np.intp), np.array(weights)
