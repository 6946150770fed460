"""Scores: accuracies with their counts, and means over folds."""

from __future__ import annotations

import pytest

from smc_eval.score import accuracy, pooled


def test_an_accuracy_has_further_scores_with_their_counts() -> None:
    score = accuracy([True, False, True, True], "accuracy (%)", "sig", fresh=[False, True], none=[])
    assert (score.value, score.n, score.signature) == (75.0, 4, "sig")
    assert score.items is not None and score.items.rows == ((100.0,), (0.0,), (100.0,), (100.0,))
    assert score.also == {"fresh": 50.0} and score.also_n == {"fresh": 2}


def test_folds_are_weighted_by_their_numbers_of_examples() -> None:
    assert pooled([90.0, 60.0], [300, 100]) == pytest.approx(82.5)
    assert pooled([100 * 340 / 384, 100 * 331 / 383], [384, 383]) == pytest.approx(100 * 671 / 767)
