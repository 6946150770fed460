"""Correct variants, which look like mutants and keep every promise."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from smc_eval.card import MethodCard, TaskCard
from smc_eval.method import Method
from smc_eval.methods.omp import Magnitude
from smc_eval.pruner import Criterion, Probe, masks
from smc_eval.score import Score
from smc_eval.stages import Prune, Rewind, Stage, Train
from smc_eval.target import Target
from smc_eval.testing import Example, Toy, ToyNet
from smc_eval.updater import StepView
from smc_eval_mutants.methods import card_of
from smc_eval_mutants.updaters import HalfTime


class SlowCriterion(Criterion):
    """The squares of the gradients of single examples, one after the other, with a rest after each."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        sums = {name: torch.zeros_like(weight) for name, weight in probe.weights.items()}
        for gradients in probe.each_gradient(16, 1, dropout=False):
            time.sleep(0.001)
            for name, gradient in gradients.items():
                sums[name] += gradient.square()
        return {name: values * probe.weights[name].square() for name, values in sums.items()}


class Slow(Method):
    """A slow method: it prunes by sixteen gradients of single examples."""

    card: ClassVar[MethodCard] = card_of("slow")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=SlowCriterion(), to=target)
        yield Train()


class MeanGradients(HalfTime):
    """Remembers the mean of the gradients in its state, and adds noise from the generator of the view."""

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step <= view.steps // 2:
            state = {name: 0.9 * state[name] + gradient for name, gradient in view.grads.items()}
        if view.step == view.steps // 2:
            noise = {name: torch.rand(mean.shape, generator=view.generator) for name, mean in state.items()}
            saliency = {
                name: (mean * view.weights[name]).abs() + 1e-9 * noise[name] for name, mean in state.items()
            }
            view.set_masks(masks(saliency, self.to, within=view.masks, shards=view.shards))
        return state

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        return range(steps // 2 + 1)


class HasState(Method):
    """A method with a state: its updater remembers gradients and draws."""

    card: ClassVar[MethodCard] = card_of("has-state", when="during")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=MeanGradients(to=target))


class RefusesGroups(Method):
    """A method that refuses N:M, and takes two distributions alone."""

    card: ClassVar[MethodCard] = card_of(
        "refuses-groups",
        when="after",
        patterns=("free",),
        distribution="erk",
        distributions=("erk", "global"),
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()
        yield Prune(by=Magnitude(), to=target)


class Softly(HalfTime):
    """Lets pruned weights learn behind the mask, and chooses the largest again at each step."""

    soft: ClassVar[bool] = True

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        saliency = {name: weight.abs() for name, weight in view.weights.items()}
        view.set_masks(masks(saliency, self.to, shards=view.shards))
        return state

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return [(-1, self.to.density)]

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        return range(steps)


class OwnUpdater(Method):
    """A method with an updater of its own, whose pruned weights come back with their values."""

    card: ClassVar[MethodCard] = card_of("own-updater", when="during")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=Softly(to=target))


class Returns(Method):
    """A method of rounds, which goes back to the start, and back to a net with a name."""

    card: ClassVar[MethodCard] = card_of("returns", when="iterative")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(stop=0.5, name="early")
        yield Prune(by=Magnitude(), to=target.at(target.sparsity / 2))
        yield Rewind(to="early")
        yield Train(start=0.5)
        yield Prune(by=Magnitude(), to=target)
        yield Rewind()
        yield Train()


class MeanError(Toy):
    """A task whose score falls as it gets better, has no bounds, and whose net has no outputs to show."""

    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"metric": "mean error", "name": "mean-error"})
    loss_and_outputs: ClassVar[None] = None  # type: ignore[assignment]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch["tokens"]), batch["answers"])

    def score(self, predicted: Sequence[int], examples: Sequence[Example]) -> Score:
        errors = [abs(token - answer) for token, (_, answer) in zip(predicted, examples, strict=True)]
        return Score(
            "mean error",
            sum(errors) / len(errors),
            len(errors),
            higher_is_better=False,
            signature="tokens apart",
        )


class MeanOverTerms(Toy):
    """A task whose examples count differently in the mean loss."""

    def loss_terms(self, example: Example) -> int:
        return 1 + example[1] % 3

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        terms = torch.tensor([self.loss_terms(example) for example in examples])
        return super().collate(examples) | {"terms": terms}

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return self.loss_and_outputs(model, batch)[0]

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        log_NC = model(batch["tokens"]).log_softmax(-1)
        log_MC, answers_M = (each.repeat_interleave(batch["terms"], 0) for each in (log_NC, batch["answers"]))
        return nn.functional.nll_loss(log_MC, answers_M), log_MC


class GuessesValues(Toy):
    """A task of values, not of classes, with a net that counts what it sees in training."""

    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"metric": "mean error", "name": "guesses-values"})

    def model(self) -> nn.Module:
        return nn.Sequential(ToyNet(), nn.BatchNorm1d(12), nn.Linear(12, 1))

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        values_N = model(batch["tokens"]).squeeze(-1)
        return nn.functional.mse_loss(values_N, batch["answers"] / 12), values_N

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        return cast("list[Any]", (12 * model(batch["tokens"]).squeeze(-1)).round(decimals=2).tolist())

    def score(self, predicted: Sequence[Any], examples: Sequence[Example]) -> Score:
        errors = [abs(value - answer) for value, (_, answer) in zip(predicted, examples, strict=True)]
        return Score(
            "mean error", sum(errors) / len(errors), len(errors), higher_is_better=False, signature="1/12"
        )
