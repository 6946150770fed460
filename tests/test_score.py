"""Scores: percentages with their counts, folds weighted by their examples."""

from __future__ import annotations

import pytest

from smc_eval.score import accuracy, pooled


def test_accuracy_counts_each_of_its_numbers() -> None:
    found = accuracy([True, False, True, True], "accuracy (%)", "sig", fresh=[False, True], none=[])
    assert (found.value, found.n, found.signature) == (75.0, 4, "sig")
    assert found.also == {"fresh": 50.0} and found.also_n == {"fresh": 2}


def test_folds_weigh_as_many_examples_as_they_have() -> None:
    assert pooled([90.0, 60.0], [300, 100]) == pytest.approx(82.5)
    assert pooled([100 * 340 / 384, 100 * 331 / 383], [384, 383]) == pytest.approx(100 * 671 / 767)
