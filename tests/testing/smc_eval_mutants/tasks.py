"""Tasks that are wrong in one way each: all are the toy, with one method replaced."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from smc_eval.card import TaskCard
from smc_eval.score import Score
from smc_eval.spec import Json
from smc_eval.task import Part, Sizes, Source, Task
from smc_eval.testing import Toy, ToyNet

COUNTER = itertools.count(1)


class SumsItsLoss(Toy):
    """Its loss is a sum over the batch, not a mean."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        loss, log_NC = super().loss_and_outputs(model, batch)
        return loss * len(log_NC), log_NC


class LossWithoutGradient(Toy):
    """Its loss is cut from the net."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return super().loss(model, batch).detach().requires_grad_()


class ClimbsTheLoss(Toy):
    """Has the sign of its gradient turned around."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        loss = super().loss(model, batch)
        return 2 * loss.detach() - loss


class OutputsAreLogits(Toy):
    """Its outputs are no log-probabilities."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return super().loss_and_outputs(model, batch)[0], model(batch["tokens"])


class OutputsHaveAnotherLoss(Toy):
    """Its loss with outputs has a term more than its loss."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return super().loss_and_outputs(model, batch)[0]

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        loss, log_NC = super().loss_and_outputs(model, batch)
        return loss + 0.1, log_NC


class ForgetsTheLimit(Toy):
    """Ignores the option `limit`."""

    def data(self, part: Part) -> Sequence[Any]:
        return Toy().data(part)


class DrawsItsData(Toy):
    """Its data differs each time."""

    def data(self, part: Part) -> Sequence[Any]:
        examples = list(super().data(part))
        turn = next(COUNTER) % len(examples) if self.limit is None else 0
        return examples[turn:] + examples[:turn]


class DataOfTheSeed(Toy):
    """Its data depends on the seed of the run: it draws from the global generator."""

    def data(self, part: Part) -> Sequence[Any]:
        examples = list(super().data(part))
        turn = random.randrange(len(examples)) if self.limit is None else 0
        return examples[turn:] + examples[:turn]


class TrainsOnTheTestPart(Toy):
    """Its training part is the test part, and more."""

    def data(self, part: Part) -> Sequence[Any]:
        more = list(Toy().data("train")) if part == "train" else []
        return [*Toy().data("test"), *more][: self.limit]


class LooksAtTheTestPart(Toy):
    """Reads the test part when it makes a batch."""

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        most = max(max(tokens) for tokens, _ in self.data("test"))
        return {name: values.clamp(max=most) for name, values in super().collate(examples).items()}


class NewDigestsEachTime(Toy):
    """Its data has another digest each time."""

    def sources(self) -> tuple[Source, ...]:
        return (Source("data", "synthetic", str(next(COUNTER))),)


class DigestOfTheFolder(Toy):
    """Its digest depends on where its data lies."""

    def canonical(self) -> dict[str, Json]:
        return {**super().canonical(), "folder": self.folder}


class DigestOfTheRecipe(Toy):
    """Its digest depends on its recipe, so that no net is shared."""

    def canonical(self) -> dict[str, Json]:
        return {**super().canonical(), "lr": self.recipe.lr}


class TrainedAsATaskOfOtherData(Toy):
    """Shares the nets of a task that trains on other examples."""

    def trained_as(self) -> Task:
        return Toy(**{name: getattr(self, name) for name in Toy.model_fields})

    def data(self, part: Part) -> Sequence[Any]:
        examples = list(Toy().data(part))
        return (examples[::-1] if part == "train" else examples)[: self.limit]


class SizesOfNothing(Toy):
    """Publishes that it has no test examples."""

    def sizes(self) -> Sizes:
        return Sizes(train=52, test=0, tokens=5, source="none")


class UsesOneWeightForEachToken(Toy):
    """Says that it only calls the net, and uses other weights for each example."""

    def model(self) -> nn.Module:
        return Drawers()


class Drawers(nn.Module):
    """A net with a layer for each first token."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(5, 12) for _ in range(12))

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """Logits [N, 12] of tokens [N, L]."""
        rows = zip(tokens_NL.float(), tokens_NL[:, 0].tolist(), strict=True)
        return torch.stack([self.layers[first](row) for row, first in rows])


class TaskDigestHoldsAnAddress(Toy):
    """Takes the text of an object as an option, with its address."""

    key: str = repr(object())


class OneNetForAllCells(Toy):
    """Makes its net once a process, so each cell begins where the last one ended."""

    def model(self) -> nn.Module:
        return one_net()


@lru_cache(maxsize=1)
def one_net() -> nn.Module:
    """A net that is made once."""
    return ToyNet()


class UnseededNet(Toy):
    """Draws the weights of its net from a generator that no seed decides."""

    def model(self) -> nn.Module:
        net, generator = ToyNet(), torch.Generator().manual_seed(next(COUNTER))
        with torch.no_grad():
            net.down.weight.copy_(torch.rand(net.down.weight.shape, generator=generator) - 0.5)
        return net


class ExcludesWhatIsNotThere(Toy):
    """Excludes a parameter that its net does not have."""

    def exclude(self, model: nn.Module) -> Collection[str]:
        return ["classifier.weight"]


class PredictsBySizeOfBatch(Toy):
    """A prediction depends on the size of its batch."""

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        return [len(batch["tokens"])] * len(batch["tokens"])


class PredictsTooFew(Toy):
    """Makes no prediction for the last example of a batch of several."""

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        predicted = super().predict(model, batch)
        return predicted[:-1] if len(predicted) > 1 else predicted


class PredictsTensors(Toy):
    """Its predictions are tensors."""

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        return list(model(batch["tokens"]).argmax(-1))


class LearnsFromTheTestPart(Toy):
    """Adapts a layer to the examples that it predicts."""

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        predicted = super().predict(model, batch)
        with torch.no_grad():
            cast("ToyNet", model).norm.bias.add_(1e-3)
        return predicted


class PredictsInTrainingMode(Toy):
    """Turns dropout on to predict."""

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        return super().predict(model.train(), batch)


class ScoresHalf(Toy):
    """Its score leaves out an example."""

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        return super().score(predicted[1:], examples[1:])


class ScoresTheFirstMore(Toy):
    """Its score weighs an example by its place."""

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        score = super().score(predicted, examples)
        value = sum(
            100 * token / 2**place for place, (token, _) in enumerate(zip(predicted, examples, strict=True))
        )
        return replace(score, value=min(99.0, value / 100), items=None)


class ScoreOutOfRange(Toy):
    """Its accuracy is a number of per cent, times a hundred."""

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        score = super().score(predicted, examples)
        return replace(score, value=100 * score.value + 200, items=None)


class ScoreIsNoNumber(Toy):
    """Divides by the number of right predictions, which can be zero."""

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        return replace(super().score(predicted, examples), value=math.nan, items=None)


class ScoreHasNoSignature(Toy):
    """Its score does not say how it was computed."""

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        return replace(super().score(predicted, examples), signature="")


class NamesNoMetric(Toy):
    """Neither its card nor its score names the metric."""

    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"metric": ""})

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        return replace(super().score(predicted, examples), metric="")


class ChangesItsOptions(Toy):
    """Counts its batches in an option, past the frozen class."""

    batches: int = 0

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        object.__setattr__(self, "batches", self.batches + 1)
        return super().collate(examples)


class ChangesItsExamples(Toy):
    """Sorts the tokens of an example in place when it makes a batch."""

    def data(self, part: Part) -> Sequence[Any]:
        return [(list(tokens), answer) for tokens, answer in super().data(part)]

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        for tokens, _ in examples:
            tokens.sort()
        return super().collate(examples)
