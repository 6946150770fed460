"""The contract of tasks fails for tasks that break it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from smc_eval.card import TaskCard
from smc_eval.score import Score
from smc_eval.task import Source
from smc_eval.testing import TaskContract, Toy

COUNTER = itertools.count(1)


class SumLoss(Toy):
    """The loss is a sum over the batch, not a mean."""

    card: ClassVar[TaskCard] = Toy.card

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        loss, log_NC = super().loss_and_outputs(model, batch)
        return loss * len(log_NC), log_NC


class ForgetsLimit(Toy):
    """Ignores the option `limit`."""

    card: ClassVar[TaskCard] = Toy.card

    def data(self, part: Any) -> Sequence[Any]:
        return Toy().data(part)


class NewDigests(Toy):
    """Its data has another digest each time."""

    card: ClassVar[TaskCard] = Toy.card

    def sources(self) -> tuple[Source, ...]:
        return (Source("data", "synthetic", str(next(COUNTER))),)


class PredictsByBatch(Toy):
    """A prediction depends on the size of its batch."""

    card: ClassVar[TaskCard] = Toy.card

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        return [len(batch["tokens"])] * len(batch["tokens"])


class ScoresHalf(Toy):
    """The score leaves out an example."""

    card: ClassVar[TaskCard] = Toy.card

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        return super().score(predicted[1:], examples[1:])


class HasNoSignature(Toy):
    """The score does not say how it was computed."""

    card: ClassVar[TaskCard] = Toy.card

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        return replace(super().score(predicted, examples), signature="")


class NamesNoMetric(Toy):
    """Neither the card nor the score names the metric."""

    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"metric": ""})

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        return replace(super().score(predicted, examples), metric="")


class MetricOfAnOption(NamesNoMetric):
    """The card leaves the metric to the score."""

    card: ClassVar[TaskCard] = NamesNoMetric.card

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        return replace(super().score(predicted, examples), metric="words")


def test_a_card_without_a_metric_leaves_it_to_the_score() -> None:
    contract = TaskContract()
    contract.task = MetricOfAnOption()
    contract.test_the_score_counts_every_example()


Check = Callable[[TaskContract], None]


@pytest.mark.parametrize(
    ("wrong", "check", "words"),
    [
        (
            SumLoss(),
            TaskContract.test_the_loss_of_a_batch_is_the_mean_over_its_examples_weighted_by_their_terms,
            "return the mean over the batch, or implement loss_terms",
        ),
        (
            ForgetsLimit(),
            TaskContract.test_both_parts_have_examples_and_obey_the_limit,
            r"data\('train'\) with limit=2 does not return its first two examples",
        ),
        (NewDigests(), TaskContract.test_its_sources_have_digests_and_are_stable, "another value when it is"),
        (
            PredictsByBatch(),
            TaskContract.test_predictions_do_not_depend_on_the_evaluation_batch_size,
            "must not depend on the other examples of its batch",
        ),
        (ScoresHalf(), TaskContract.test_the_score_counts_every_example, "counts 4 of 5 examples"),
        (HasNoSignature(), TaskContract.test_the_score_counts_every_example, "Score.signature is empty"),
        (NamesNoMetric(), TaskContract.test_the_score_counts_every_example, "Score.metric is empty"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Toy) else "",
)
def test_a_wrong_task_fails_with_words_and_the_toy_passes(wrong: Toy, check: Check, words: str) -> None:
    def contract_of(tested: Toy) -> TaskContract:
        class Contract(TaskContract):
            task = tested

        return Contract()

    check(contract_of(Toy()))
    with pytest.raises(AssertionError, match=words):
        check(contract_of(wrong))
