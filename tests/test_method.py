"""What a method is beside its plan: its words, what it refuses, what the paper chose otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from smc_eval.card import MethodCard
from smc_eval.errors import UsageError
from smc_eval.method import Method
from smc_eval.stages import Stage, Train
from smc_eval.target import Target


class Made(Method):
    card: ClassVar[MethodCard] = MethodCard(
        name="made",
        summary="made",
        source="none",
        when="before",
        distribution="erk",
        distributions=("erk", "uniform"),
    )
    paper: ClassVar[Mapping[str, Any]] = {"share": 0.5}
    share: float = 0.2
    name: str = "x"

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Made(), "made"),
        (Made(share=0.1), "made:share=0.1"),
        (Made(share=0.1, name="y"), "made:share=0.1,name=y"),
    ],
)
def test_a_method_is_worded_by_the_options_that_differ_from_its_defaults(method: Method, words: str) -> None:
    assert method.label == words


def test_a_spread_that_is_not_on_its_card_is_refused_by_name() -> None:
    Made().accept(Target(sparsity=0.5, distribution="uniform"))
    Made().accept(Target.parse("2:4"))
    with pytest.raises(UsageError, match="method 'made' cannot spread 'global'; it spreads: erk, uniform"):
        Made().accept(Target(sparsity=0.5))
