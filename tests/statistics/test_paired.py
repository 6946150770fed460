"""Comparisons: pairing, ties, few seeds, and corrected p-values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import UsageError
from smc_eval.statistics import Sample, compare_samples, holm, seeds_needed
from smc_eval.statistics.student import two_sided


def paired_sample(shares: object) -> Sample:
    rows = np.array(shares, dtype=float)[..., None]
    return Sample("mean", rows, np.zeros(rows.shape[1], int), np.ones(1), tuple(range(len(rows))))


def test_seeds_without_items_have_a_paired_t_test() -> None:
    a, b = Sample.of_seeds({0: 71.0, 1: 75.0, 2: 78.0}), Sample.of_seeds({2: 76.0, 1: 74.0, 0: 70.5})
    found = compare_samples(a, b)  # differences 0.5, 1, 2: mean 7/6, deviation 0.7638
    assert found.difference == pytest.approx(7 / 6) and found.seeds == 3 and found.items == 0
    assert found.p == pytest.approx(two_sided(7 / 6 / (0.763763 / 3**0.5), 2), rel=1e-5)
    assert found.interval is not None and found.interval.over == "3 seeds (t)"


def test_only_common_seeds_are_compared() -> None:
    found = compare_samples(Sample.of_seeds({0: 10.0, 1: 20.0, 2: 99.0}), Sample.of_seeds({1: 21.0, 0: 12.0}))
    assert (found.a, found.b, found.seeds) == (15.0, 16.5, 2)


def test_a_bootstrap_of_seeds_draws_common_seeds_in_pairs(sample) -> None:
    noise = np.random.default_rng(0).normal(scale=20, size=(4, 30))
    steps = np.array([[1.0], [1.0], [1.001], [0.999]])  # all pairs differ by about 1
    a, b = sample(noise, data="one"), sample(noise + steps, data="other")
    for some, others in (
        (a, b.only([2, 0, 1])),
        (a.only([0, 1, 2]), b),
        (a.only([3, 0, 1]), b.only([1, 0, 3])),
    ):
        found = compare_samples(some, others, resamples=200)
        assert found.items == 0 and found.seeds == 3 and found.interval is not None
        assert found.difference == pytest.approx(-1, abs=1e-3)
        assert (found.interval.low, found.interval.high) == pytest.approx((-1, -1), abs=0.01)


def test_answers_of_one_seed_have_nearly_mcnemars_test() -> None:
    a, b = np.zeros(400), np.zeros(400)
    a[:30], b[20:35] = 100, 100  # 20 right in a alone, 5 in b alone, 10 in both
    found = compare_samples(paired_sample([a]), paired_sample([b]))
    assert found.difference == pytest.approx(100 * 15 / 400)
    # (20 - 5) / root(20 + 5 + 1 - 15^2/400), near McNemar's, with one more differing pair
    assert found.p == pytest.approx(two_sided(15 / (26 - 15**2 / 400) ** 0.5, 399), rel=0.02)
    assert found.interval is not None and found.interval.over == "400 items of one seed"
    assert found.verdict() == "a" and compare_samples(paired_sample([b]), paired_sample([a])).verdict() == "b"


def test_equal_answers_are_a_tie(sample) -> None:
    same = paired_sample([[0, 100, 100, 0] * 50])
    found = compare_samples(same, same)
    assert (found.difference, found.p, found.verdict()) == (0.0, 1.0, "tie")
    assert found.interval is not None and found.interval.low < 0 < found.interval.high


def test_equal_differences_of_all_seeds_are_no_proof() -> None:
    """Two seeds that differ by 3 each do not show how far a third would lie. 70.1 - 67.1 is not exactly 3."""
    a, b = Sample.of_seeds({0: 70.1, 1: 60.0}), Sample.of_seeds({0: 67.1, 1: 57.0})
    for resamples in (None, 200):
        found = compare_samples(a, b, resamples)
        assert found.difference == pytest.approx(3) and found.interval is None
        assert (found.p, found.verdict(), seeds_needed(found)) == (1.0, "tie", None)


def test_equal_translations_have_no_interval_and_are_a_tie(sample) -> None:
    rows = [[[4, 3, 2, 1, 5, 4, 3, 2, 5, 6], [1, 1, 0, 0, 6, 5, 4, 3, 6, 6], [9, 8, 7, 6, 9, 8, 7, 6, 9, 9]]]
    found = compare_samples(sample(rows, kind="bleu"), sample(rows, kind="bleu"))
    assert (found.difference, found.interval, found.p, found.verdict()) == (0.0, None, 1.0, "tie")


def test_an_interval_of_a_difference_stays_within_the_range_of_differences(sample) -> None:
    right, wrong = [[100.0] * 6], [[0.0] * 6]
    found = compare_samples(sample(right), sample(wrong))
    assert found.difference == 100 and found.interval is not None
    assert found.interval.high == 100 and found.interval.low < 100
    turned = compare_samples(sample(wrong), sample(right))
    assert turned.interval is not None and turned.interval.low == -100
    # without items, two seeds: 90 and 99 against 1 and 2, t is 12.7
    ends = (0.0, 100.0)
    seeds = compare_samples(Sample.of_seeds({0: 90, 1: 99}, ends), Sample.of_seeds({0: 1, 1: 2}, ends))
    assert seeds.interval is not None and (seeds.difference, seeds.interval.high) == (93, 100)
    assert seeds.interval.low == pytest.approx(93 - 12.7062 * 4, abs=1e-3)
    rising, mixed = [[i, i] for i in range(5)], [[i, i + 2 * (i == 3)] for i in range(5)]
    up, down = (
        sample([[[i, sign * j] for i, j in rows] for rows in (rising, mixed)], kind="rank")
        for sign in (1, -1)
    )
    ranks = compare_samples(up, down)
    assert ranks.interval is None or -2 <= ranks.interval.low < ranks.interval.high <= 2


def test_a_corrected_p_value_may_change_the_verdict() -> None:
    found = compare_samples(
        Sample.of_seeds({0: 1.0, 1: 1.1, 2: 0.9}), Sample.of_seeds({0: 0.0, 1: 0.0, 2: 0.0})
    )
    assert found.verdict() == "a" and found.verdict(p=0.2) == "tie"


def test_a_paired_test_finds_a_difference_that_two_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=1000)
    a, b = (np.where(hard + 0.1 * rng.normal(size=1000) > edge, 100.0, 0.0) for edge in (0.0, 0.06))
    found = compare_samples(paired_sample([a]), paired_sample([b]))
    unpaired = 2 * (100 * 0.5 / 1000**0.5) * 1.96 * 0.7
    assert found.p < 0.05 and abs(found.difference) < unpaired


def test_samples_of_different_items_are_compared_by_seeds(sample) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 30))
    found = compare_samples(sample(rows, data="one"), sample(rows[::-1] + 1, data="other"))
    assert found.items == 0 and found.interval is not None and found.interval.over == "3 seeds (t)"


def test_samples_that_cannot_be_compared_are_refused(sample) -> None:
    with pytest.raises(UsageError, match=r"no seed is in both: 0, 1 and 2; run both with the same seeds"):
        compare_samples(Sample.of_seeds({0: 1.0, 1: 2.0}), Sample.of_seeds({2: 1.0}))
    with pytest.raises(UsageError, match="scores of kind 'mean' and 'rank' cannot be compared"):
        compare_samples(sample([[1.0, 2.0]]), sample([[[1.0, 2.0], [2.0, 3.0]]], kind="rank"))


def test_one_seed_without_items_is_always_a_tie() -> None:
    found = compare_samples(Sample.of_seeds({0: 90.0}), Sample.of_seeds({0: 10.0}))
    assert (found.p, found.interval, found.verdict()) == (1.0, None, "tie")


def test_bleu_of_one_seed_has_the_p_value_of_sacrebleus_randomisation() -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    rng = np.random.default_rng(2)
    words = [f"w{number}" for number in range(30)]
    references = [" ".join(rng.choice(words, rng.integers(6, 15))) for _ in range(150)]

    def noisy(share: float) -> list[str]:
        return [
            " ".join(str(rng.choice(words)) if rng.random() < share else word for word in line.split())
            for line in references
        ]

    systems = [noisy(0.30), noisy(0.33)]
    metric = BLEU(tokenize="none")
    tested = PairedTest([("a", systems[0]), ("b", systems[1])], {"BLEU": metric}, [references], "ar", 3000)
    theirs = tested()[1]["BLEU"][1]
    alone = BLEU(tokenize="none", effective_order=True)

    def sample(hypotheses: list[str]) -> Sample:
        pairs = zip(hypotheses, references, strict=True)
        scores = [alone.sentence_score(hypothesis, [reference]) for hypothesis, reference in pairs]
        rows = [(*score.counts, *score.totals, score.sys_len, score.ref_len) for score in scores]
        return Sample("bleu", np.array([rows], float), np.zeros(150, int), np.ones(1), (0,))

    a, b = map(sample, systems)
    assert b.value() == pytest.approx(theirs.score)
    assert theirs.p_value is not None and 0.01 < theirs.p_value < 0.9
    for found in (compare_samples(a, b), compare_samples(a, b, resamples=4000)):
        assert found.p == pytest.approx(theirs.p_value, abs=0.03)


def test_closed_form_and_bootstrap_agree_on_differences() -> None:
    rng = np.random.default_rng(4)
    hard = rng.normal(size=300)
    a, b = (
        paired_sample(
            np.where(0.1 * rng.normal(size=(4, 1)) + hard + rng.normal(size=(4, 300)) > edge, 100.0, 0.0)
        )
        for edge in (0.0, 0.1)
    )
    closed, drawn = compare_samples(a, b), compare_samples(a, b, resamples=8000)
    assert closed.interval is not None and drawn.interval is not None
    assert drawn.interval.half == pytest.approx(closed.interval.half, rel=0.06)
    assert drawn.p == pytest.approx(closed.p, abs=0.02)


@pytest.mark.parametrize(
    ("kind", "seeds", "trials"), [("mean", 1, 1000), ("mean", 3, 1000), ("mean", 5, 1000), ("rank", 3, 600)]
)
def test_equal_methods_are_found_different_at_the_level(kind: str, seeds: int, trials: int) -> None:
    rng, false = np.random.default_rng(seeds), 0
    for _ in range(trials):
        both_S, both_N = 0.1 * rng.normal(size=(seeds, 1)), rng.normal(size=200)
        pair = []
        for _ in range(2):  # effects of seeds and items for each method
            own_S = 0.15 * rng.normal(size=(seeds, 1)) * (seeds > 1)
            own_SN = 0.7 * rng.normal(size=200) + rng.normal(size=(seeds, 200))
            if kind == "mean":
                rows = np.where(0.5 + both_S + own_S + both_N + own_SN > 0, 100.0, 0.0)[..., None]
            else:
                predicted = both_N + np.exp(both_S + own_S) * own_SN
                rows = np.stack([predicted, np.broadcast_to(both_N, predicted.shape)], axis=2)
            pair.append(Sample(kind, rows, np.zeros(200, int), np.ones(1), tuple(range(seeds))))
        false += compare_samples(*pair).p < 0.05
    assert false / trials == pytest.approx(0.05, abs=0.025)  # the trials alone vary by 0.021


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_raises_p_values_by_no_more_than_bonferroni(p_values: list[float]) -> None:
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p <= adjusted <= min(1.0, len(p_values) * p)


def test_the_needed_seeds_reach_the_power() -> None:
    rng = np.random.default_rng(7)
    sample = Sample.of_seeds(dict(enumerate([0.5, 2.5, 1.5, 0.5, 2.5])))  # mean 1.5, deviation 1
    found = compare_samples(sample, Sample.of_seeds(dict.fromkeys(range(5), 0.0)))
    needed = seeds_needed(found)
    assert needed is not None
    powers = []
    for seeds in (needed, needed - 2):
        drawn = 1.5 + rng.normal(size=(4000, seeds))
        t = drawn.mean(axis=1) / drawn.std(axis=1, ddof=1) * seeds**0.5
        powers.append(np.mean([two_sided(value, seeds - 1) < 0.05 for value in t]))
    assert powers[0] > 0.78 and powers[1] < 0.8


def test_with_too_few_items_no_number_of_seeds_is_enough() -> None:
    rng = np.random.default_rng(1)
    by_item = 3 * rng.normal(size=20)  # which method is better depends on the item alone
    a = paired_sample(by_item + 0.01 * rng.normal(size=(3, 20)))
    assert seeds_needed(compare_samples(a, paired_sample(np.zeros((3, 20))))) is None


def test_one_seed_gives_no_number_of_needed_seeds() -> None:
    rows = np.random.default_rng(1).normal(size=(1, 50))
    assert seeds_needed(compare_samples(paired_sample(rows), paired_sample(rows + 0.1))) is None
