"""Methods besides their plans: the label, and the targets that a method refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from smc_eval.card import MethodCard
from smc_eval.errors import UsageError
from smc_eval.method import Method
from smc_eval.methods.grasp import Grasp
from smc_eval.methods.snip import Snip
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
        patterns=("free",),
        scopes=("body",),
    )
    paper: ClassVar[Mapping[str, Any]] = {"share": 0.5}
    share: float = 0.2
    name: str = "x"

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()


class Patterned(Made):
    card: ClassVar[MethodCard] = Made.card.model_copy(
        update={"patterns": ("n:m",), "distributions": ("erk",)}
    )


@pytest.mark.parametrize(
    ("method", "label"),
    [
        (Made(), "made"),
        (Made(share=0.1), "made:share=0.1"),
        (Made(share=0.1, name="y"), "made:share=0.1,name=y"),
        (Snip(dropout=True), "snip:dropout=true"),
        (Grasp(per_class=None), "grasp:per_class=none"),
    ],
)
def test_the_label_of_a_method_has_the_options_that_differ_from_the_defaults(
    method: Method, label: str
) -> None:
    assert method.label == label


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target(sparsity=0.5), "does not support distribution 'global'; it supports: erk, uniform"),
        (
            Target(scope="all-2d", distribution="erk"),
            "does not support scope 'all-2d'; it supports: body, as",
        ),
        (Target.parse("2:4"), "does not support pattern '2:4'; it supports: free"),
    ],
)
def test_a_target_that_is_not_on_the_card_is_refused(target: Target, message: str) -> None:
    with pytest.raises(UsageError, match=f"method 'made' {message}"):
        Made().accept(target)


def test_a_target_on_the_card_is_accepted() -> None:
    assert Made().accept(Target(sparsity=0.5, distribution="uniform")) is None
    assert Patterned().accept(Target.parse("2:4")) is None  # a pattern needs no distribution
