"""Checked scores: a score beyond the range of its metric is no result."""

from __future__ import annotations

import pytest

from smc_eval.errors import PluginError
from smc_eval.experiment.checked_score import check_score
from smc_eval.score import Score
from smc_eval.testing import Toy


@pytest.mark.parametrize(
    ("metric", "value"), [("accuracy (%)", 150.0), ("value accuracy (%)", -1.0), ("BLEU", 101.0)]
)
def test_a_score_beyond_the_range_of_its_metric_is_refused_by_name(metric: str, value: float) -> None:
    with pytest.raises(PluginError, match=r"Toy gave the score .*; .* is from 0 to 100"):
        check_score(Toy(), Score(metric, value, 20, signature="s"))


@pytest.mark.parametrize(
    ("metric", "value"),
    [("accuracy (%)", 100.0), ("BLEU", 100.00000000000004), ("accuracy gain (%)", -3.0), ("BLEURT", -0.2)],
)
def test_a_score_of_another_metric_may_have_any_value(metric: str, value: float) -> None:
    check_score(Toy(), Score(metric, value, 20, signature="s"))
