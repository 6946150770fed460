"""Samples: items reproduce the table's value, and their influences are derivatives."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.reporting.cell_value import make_cell_value
from smc_eval.score import Items
from smc_eval.statistics import Sample
from smc_eval.store.record import Record
from smc_eval.tasks.protein.spearman import spearman
from smc_eval.testing import record_with

CORPUS = (
    ("the cat sat on the mat today", "the cat sat on a mat today"),
    ("a dog barked at night in town", "the dog barked at night in the town"),
    ("it rains", "it rains a lot here in the north"),
    ("nobody knows what comes next year", "nobody knows what will come next year"),
    ("yes", "yes of course"),
)


def record(seed: int, fold: int | None, value: float, n: int, **other: Any) -> Record:
    """A record of one seed and fold."""
    result = record_with(
        method="dense",
        seed=seed,
        fold=fold,
        data={"digest": f"d{fold}"},
        digest=f"{seed}/{fold}",
        score={"value": value, "n": n},
    )
    return replace(result, **other)


def right(*answers: int) -> Items:
    return Items("mean", tuple((100.0 * answer,) for answer in answers))


def bleu_rows(hypothesis: str, reference: str) -> tuple[float, ...]:
    """N-gram counts by hand, equal to those of sacrebleu for one sentence."""
    words, expected = hypothesis.split(), reference.split()

    def grams(of: list[str], n: int) -> list[tuple[str, ...]]:
        return [tuple(of[at : at + n]) for at in range(len(of) - n + 1)]

    matches = [
        sum(min(grams(words, n).count(g), grams(expected, n).count(g)) for g in set(grams(words, n)))
        for n in (1, 2, 3, 4)
    ]
    return (*matches, *(len(grams(words, n)) for n in (1, 2, 3, 4)), len(words), len(expected))


def cell_records(
    items_of: Mapping[tuple[int, int | None], Items], value: Callable[[Items], float]
) -> list[Record]:
    return [record(*place, value(items), len(items.rows)) for place, items in items_of.items()]


def percentage(items: Items) -> float:
    return sum(value for (value,) in items.rows) / len(items.rows)


def test_the_value_of_a_sample_is_that_of_the_table() -> None:
    items_of = {(0, 0): right(1, 0, 1), (0, 1): right(1), (1, 0): right(1, 1, 1), (1, 1): right(0)}
    records = cell_records(items_of, percentage)
    sample = Sample.of(records, lambda digest: items_of[int(digest[0]), int(digest[2])])
    assert sample is not None and sample.seeds == (0, 1) and sample.size == 4
    assert sample.value() == make_cell_value(records, records, 1).value == 75.0
    assert sample.values_S().tolist() == [75.0, 75.0]


@given(st.integers(0, 10**6))
def test_any_sample_of_folds_has_the_value_of_the_table(draw: int) -> None:
    rng = random.Random(draw)
    sizes = [rng.randint(1, 9) for _ in range(rng.randint(1, 4))]
    items_of = {
        (seed, fold): right(*(rng.randint(0, 1) for _ in range(size)))
        for seed in range(rng.randint(1, 4))
        for fold, size in enumerate(sizes)
    }
    records = cell_records(items_of, percentage)
    rng.shuffle(records)
    sample = Sample.of(records, lambda digest: items_of[int(digest[0]), int(digest[2])])
    assert sample is not None
    assert sample.value() == pytest.approx(make_cell_value(records, records, 1).value, rel=1e-14, abs=0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_the_value_of_ranks_is_spearmans_rho(pairs: list[tuple[int, int]]) -> None:
    items = Items("rank", tuple((float(a), float(b)) for a, b in pairs))
    rho = spearman(*zip(*items.rows, strict=True))
    sample = Sample.of([record(0, None, rho, len(pairs))], lambda _: items)
    assert sample is not None and sample.value() == rho


def test_a_correlation_with_a_nan_is_zero() -> None:
    items = Items("rank", ((1.0, 2.0), (float("nan"), 3.0), (4.0, 5.0)))
    sample = Sample.of([record(0, None, 0.0, 3)], lambda _: items)
    assert sample is not None and sample.value() == 0.0 and not sample.parts_SN().any()


@pytest.mark.parametrize("sentences", [CORPUS, CORPUS[2:], CORPUS[4:], CORPUS[:1] * 3, (("", "not a word"),)])
def test_the_value_of_bleu_is_sacrebleus(sentences: tuple[tuple[str, str], ...]) -> None:
    from sacrebleu.metrics.bleu import BLEU

    hypotheses, references = zip(*sentences, strict=True)
    score = BLEU(tokenize="none").corpus_score(hypotheses, [references]).score
    items = Items("bleu", tuple(bleu_rows(*pair) for pair in sentences))
    sample = Sample.of([record(0, None, score, len(hypotheses))], lambda _: items)
    assert sample is not None and sample.value() == pytest.approx(score, rel=1e-12, abs=1e-12)


def test_bleu_of_resampled_sentences_is_sacrebleus_bleu_of_them() -> None:
    from sacrebleu.metrics.bleu import BLEU

    counts = [2, 0, 1, 1, 3]
    items = Items("bleu", tuple(bleu_rows(*pair) for pair in CORPUS))
    chosen = [pair for pair, count in zip(CORPUS, counts, strict=True) for _ in range(count)]
    hypotheses, references = zip(*chosen, strict=True)
    sample = Sample("bleu", np.array([items.rows], float), np.zeros(5, int), np.ones(1), (0,))
    score = BLEU(tokenize="none").corpus_score(hypotheses, [references]).score
    assert sample.reweighted(np.array(counts, float)[:, None])[0, 0] == pytest.approx(score, rel=1e-12)


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6), st.integers(0, 99))
def test_rho_of_resampled_items_is_spearmans_rho_of_them(counts: list[int], draw: int) -> None:
    rows = np.random.default_rng(draw).integers(0, 4, (6, 2)).astype(float)
    chosen = [row for row, count in zip(rows.tolist(), counts, strict=True) for _ in range(count)]
    sample = Sample("rank", rows[None], np.zeros(6, int), np.ones(1), (0,))
    rho = spearman(*zip(*chosen, strict=True)) if chosen else 0.0
    assert sample.reweighted(np.array(counts, float)[:, None])[0, 0] == pytest.approx(rho, abs=1e-12)


def test_a_score_over_directions_is_the_mean_of_their_scores() -> None:
    rows = tuple(bleu_rows(*pair) for pair in CORPUS)
    first, second = (
        Sample("bleu", np.array([part], float), np.zeros(len(part), int), np.ones(1), (0,))
        for part in (rows[:3], rows[3:])
    )
    mean = (first.value() + second.value()) / 2
    items = Items("bleu", rows, ("en-fr", "en-fr", "en-fr", "fr-en", "fr-en"))
    sample = Sample.of([record(0, None, mean, 5)], lambda _: items)
    assert sample is not None and sample.value() == pytest.approx(mean, rel=1e-14)
    assert sample.groups_N.tolist() == [0, 0, 0, 1, 1]


def random_sample(kind: str) -> Sample:
    rng = np.random.default_rng(3)
    rows = {
        "mean": lambda: rng.normal(size=(2, 40, 1)),
        "rank": lambda: rng.integers(0, 9, (2, 40, 2)).astype(float),
        "bleu": lambda: np.concatenate(
            [
                rng.integers(1, 5, (2, 40, 1)) // np.array([1, 1, 2, 3]),
                np.full((2, 40, 4), [12, 11, 10, 9]),
                np.full((2, 40, 2), [12, 14]),
            ],
            axis=2,
        ).astype(float),
    }[kind]()
    return Sample(kind, rows, np.arange(40) % 2, np.array([3.0, 1.0]), (0, 1))


@pytest.mark.parametrize("kind", ["mean", "rank", "bleu"])
def test_parts_are_derivatives_by_the_weights_of_items(kind: str) -> None:
    sample, step = random_sample(kind), 1e-6
    at_SN = sample.reweighted(np.ones((40, 40)) + step * np.eye(40)) - sample.values_S()[:, None]
    assert sample.parts_SN() == pytest.approx(at_SN / step, abs=2e-5 * np.abs(at_SN / step).max())


@pytest.mark.parametrize("kind", ["mean", "rank", "bleu"])
def test_parts_of_a_group_sum_to_zero(kind: str) -> None:
    parts = random_sample(kind).parts_SN()
    assert np.abs(parts).max() > 0
    assert parts[:, ::2].sum(axis=1) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("reason", "items_of", "values"),
    [
        ("no items", {(0, None): None}, [50.0]),
        ("no item", {(0, None): right()}, [50.0]),
        ("another length", {(0, None): right(0, 1), (1, None): right(0, 1, 0, 1)}, [50.0, 50.0]),
        ("another score", {(0, None): right(0, 1)}, [51.0]),
        ("a fold less", {(0, 0): right(0, 1), (0, 1): right(0, 1), (1, 0): right(0, 1)}, [50.0] * 3),
        ("a broken row", {(0, None): Items("mean", ((100.0, 0.0), (0.0, 0.0)))}, [50.0]),
        ("a group too few", {(0, None): Items("mean", ((100.0,), (0.0,)), ("en-fr",))}, [50.0]),
    ],
)
def test_records_without_complete_items_have_no_sample(
    reason: str, items_of: dict[Any, Any], values: list[float]
) -> None:
    records = [record(*place, value, 2) for place, value in zip(items_of, values, strict=True)]
    by_digest = dict(zip((record.digest for record in records), items_of.values(), strict=True))
    assert Sample.of(records, by_digest.__getitem__) is None, reason


def test_seeds_of_different_data_have_no_sample() -> None:
    records = [record(0, 0, 50.0, 2), record(1, 0, 50.0, 2)]
    assert Sample.of(records, lambda _: right(0, 1)) is not None
    for change in ({"digest": "other"}, {"limited": 2}):
        other = [records[0], replace(records[1], data=replace(records[1].data, **change))]
        assert Sample.of(other, lambda _: right(0, 1)) is None


def test_items_with_other_references_have_no_sample() -> None:
    items_of = {
        "0/0": Items("rank", ((1.0, 1.0), (2.0, 2.0))),
        "1/0": Items("rank", ((1.0, 1.0), (2.0, 3.0))),
    }
    assert Sample.of([record(0, 0, 1.0, 2), record(1, 0, 1.0, 2)], items_of.__getitem__) is None


def test_a_sample_of_scores_has_no_items() -> None:
    sample = Sample.of_seeds({3: 70.0, 5: 80.0})
    assert (sample.value(), sample.size, sample.seeds) == (75.0, 0, (3, 5))
