"""Comparisons: pairs are used, equals are ties, and few seeds are not made much of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import UsageError
from smc_eval.statistics import Sample, compare_samples, holm, seeds_needed
from smc_eval.statistics.student import two_sided


def wrong_and_right(shares: object) -> Sample:
    rows = np.array(shares, dtype=float)[..., None]
    return Sample("mean", rows, np.zeros(rows.shape[1], int), np.ones(1), tuple(range(len(rows))))


def test_seeds_alone_are_a_paired_t_test() -> None:
    a, b = Sample.of_seeds({0: 71.0, 1: 75.0, 2: 78.0}), Sample.of_seeds({2: 76.0, 1: 74.0, 0: 70.5})
    found = compare_samples(a, b)  # differences 0.5, 1, 2: mean 7/6, deviation 0.7638
    assert found.difference == pytest.approx(7 / 6) and found.seeds == 3 and found.items == 0
    assert found.p == pytest.approx(two_sided(7 / 6 / (0.763763 / 3**0.5), 2), rel=1e-5)
    assert found.interval is not None and found.interval.over == "3 seeds (t)"


def test_only_seeds_of_both_are_compared() -> None:
    found = compare_samples(Sample.of_seeds({0: 10.0, 1: 20.0, 2: 99.0}), Sample.of_seeds({1: 21.0, 0: 12.0}))
    assert (found.a, found.b, found.seeds) == (15.0, 16.5, 2)


def test_one_seeds_answers_are_mcnemars_test() -> None:
    a, b = np.zeros(400), np.zeros(400)
    a[:30], b[20:35] = 100, 100  # 20 right in a alone, 5 in b alone, 10 in both
    found = compare_samples(wrong_and_right([a]), wrong_and_right([b]))
    assert found.difference == pytest.approx(100 * 15 / 400)
    # (20 - 5) / root(20 + 5 + 1 - 15^2/400), near McNemar's, with one pair more that differs
    assert found.p == pytest.approx(two_sided(15 / (26 - 15**2 / 400) ** 0.5, 399), rel=0.02)
    assert found.interval is not None and found.interval.over == "400 items of one seed"
    assert (
        found.verdict() == "a"
        and compare_samples(wrong_and_right([b]), wrong_and_right([a])).verdict() == "b"
    )


def test_a_tie_is_a_tie(sample) -> None:
    same = wrong_and_right([[0, 100, 100, 0] * 50])
    found = compare_samples(same, same)
    assert (found.difference, found.p, found.verdict()) == (0.0, 1.0, "tie")
    assert found.interval is not None and found.interval.low < 0 < found.interval.high


def test_a_verdict_may_be_corrected_away() -> None:
    found = compare_samples(
        Sample.of_seeds({0: 1.0, 1: 1.1, 2: 0.9}), Sample.of_seeds({0: 0.0, 1: 0.0, 2: 0.0})
    )
    assert found.verdict() == "a" and found.verdict(p=0.2) == "tie"


def test_pairing_by_items_sees_what_two_intervals_would_not() -> None:
    chance = np.random.default_rng(0)
    hard = chance.normal(size=1000)
    a, b = (np.where(hard + 0.1 * chance.normal(size=1000) > edge, 100.0, 0.0) for edge in (0.0, 0.06))
    found = compare_samples(wrong_and_right([a]), wrong_and_right([b]))
    apart = 2 * (100 * 0.5 / 1000**0.5) * 1.96 * 0.7
    assert found.p < 0.05 and abs(found.difference) < apart


def test_items_of_other_data_fall_back_to_seeds(sample) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 30))
    found = compare_samples(sample(rows, data="one"), sample(rows + 1, data="other"))
    assert found.items == 0 and found.interval is not None and found.interval.over == "3 seeds (t)"


def test_what_cannot_be_compared_says_why(sample) -> None:
    with pytest.raises(UsageError, match=r"no seed is in both: 0, 1 and 2; run one with the other's"):
        compare_samples(Sample.of_seeds({0: 1.0, 1: 2.0}), Sample.of_seeds({2: 1.0}))
    with pytest.raises(UsageError, match="scores of kind 'mean' and 'rank' cannot be compared"):
        compare_samples(sample([[1.0, 2.0]]), sample([[[1.0, 2.0], [2.0, 3.0]]], kind="rank"))


def test_one_seed_without_items_is_never_a_difference() -> None:
    found = compare_samples(Sample.of_seeds({0: 90.0}), Sample.of_seeds({0: 10.0}))
    assert (found.p, found.interval, found.verdict()) == (1.0, None, "tie")


def test_bleu_of_one_seed_has_sacrebleus_approximate_randomisation() -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    chance = np.random.default_rng(2)
    words = [f"w{number}" for number in range(30)]
    wanted = [" ".join(chance.choice(words, chance.integers(6, 15))) for _ in range(150)]

    def noisy(share: float) -> list[str]:
        return [
            " ".join(str(chance.choice(words)) if chance.random() < share else word for word in line.split())
            for line in wanted
        ]

    systems = [noisy(0.30), noisy(0.33)]
    metric = BLEU(tokenize="none")
    tested = PairedTest([("a", systems[0]), ("b", systems[1])], {"BLEU": metric}, [wanted], "ar", 3000)
    theirs = tested()[1]["BLEU"][1]
    alone = BLEU(tokenize="none", effective_order=True)

    def sample(said: list[str]) -> Sample:
        found = [alone.sentence_score(one, [want]) for one, want in zip(said, wanted, strict=True)]
        rows = [(*one.counts, *one.totals, one.sys_len, one.ref_len) for one in found]
        return Sample("bleu", np.array([rows], float), np.zeros(150, int), np.ones(1), (0,))

    a, b = map(sample, systems)
    assert b.value() == pytest.approx(theirs.score)
    assert theirs.p_value is not None and 0.01 < theirs.p_value < 0.9
    for found in (compare_samples(a, b), compare_samples(a, b, resamples=4000)):
        assert found.p == pytest.approx(theirs.p_value, abs=0.03)


def test_closed_form_and_bootstrap_agree_on_differences() -> None:
    chance = np.random.default_rng(4)
    hard = chance.normal(size=300)
    a, b = (
        wrong_and_right(
            np.where(
                0.1 * chance.normal(size=(4, 1)) + hard + chance.normal(size=(4, 300)) > edge, 100.0, 0.0
            )
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
def test_equals_are_told_apart_as_seldom_as_the_level_says(kind: str, seeds: int, trials: int) -> None:
    chance, false = np.random.default_rng(seeds), 0
    for _ in range(trials):
        both_S, both_N = 0.1 * chance.normal(size=(seeds, 1)), chance.normal(size=200)
        pair = []
        for _ in range(2):  # seeds and items by themselves, and by method
            own_S = 0.15 * chance.normal(size=(seeds, 1)) * (seeds > 1)
            own_SN = 0.7 * chance.normal(size=200) + chance.normal(size=(seeds, 200))
            if kind == "mean":
                rows = np.where(0.5 + both_S + own_S + both_N + own_SN > 0, 100.0, 0.0)[..., None]
            else:
                said = both_N + np.exp(both_S + own_S) * own_SN
                rows = np.stack([said, np.broadcast_to(both_N, said.shape)], axis=2)
            pair.append(Sample(kind, rows, np.zeros(200, int), np.ones(1), tuple(range(seeds))))
        false += compare_samples(*pair).p < 0.05
    assert false / trials == pytest.approx(0.05, abs=0.025)  # trials alone make 0.021


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_only_raises_and_never_more_than_bonferroni(p_values: list[float]) -> None:
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p <= adjusted <= min(1.0, len(p_values) * p)


def test_so_many_seeds_show_a_difference_so_often() -> None:
    chance = np.random.default_rng(7)
    seen = Sample.of_seeds(dict(enumerate([0.5, 2.5, 1.5, 0.5, 2.5])))  # mean 1.5, deviation 1
    found = compare_samples(seen, Sample.of_seeds(dict.fromkeys(range(5), 0.0)))
    needed = seeds_needed(found)
    assert needed is not None
    powers = []
    for seeds in (needed, needed - 2):
        drawn = 1.5 + chance.normal(size=(4000, seeds))
        t = drawn.mean(axis=1) / drawn.std(axis=1, ddof=1) * seeds**0.5
        powers.append(np.mean([two_sided(one, seeds - 1) < 0.05 for one in t]))
    assert powers[0] > 0.78 and powers[1] < 0.8


def test_where_items_are_too_few_no_number_of_seeds_helps() -> None:
    chance = np.random.default_rng(1)
    by_item = 3 * chance.normal(size=20)  # which method is better depends on the item alone
    a = wrong_and_right(by_item + 0.01 * chance.normal(size=(3, 20)))
    assert seeds_needed(compare_samples(a, wrong_and_right(np.zeros((3, 20))))) is None


def test_one_seed_gives_no_hint_of_how_many() -> None:
    rows = np.random.default_rng(1).normal(size=(1, 50))
    assert seeds_needed(compare_samples(wrong_and_right(rows), wrong_and_right(rows + 0.1))) is None
