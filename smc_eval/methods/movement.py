"""Movement pruning: keep the weights that move away from zero during training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.gmp import Gradual, GradualMethod
from smc_eval.pruner import masks
from smc_eval.sparse.schedule import linear, window
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView

if TYPE_CHECKING:
    from torch import Tensor


Learning = Literal["sum", "adamw"]
"""How scores learn: the plain sum of -g * w, or AdamW at a linear rate."""

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""AdamW's defaults, for the scores."""


class Move(Gradual):
    """The weights with the largest scores remain. Sanh, Wolf & Rush (2020), equations 4 to 6.

    The gradient of a score is g * w: g is the gradient of the masked net, w is the weight, pruned or not.
    Pruned weights are scored too, and return with their values when their score is large enough. With
    `learning="sum"`, S <- S - g * w, as in equation 6 with a constant rate. With `adamw`, AdamW updates the
    scores at a rate that rises until `since` and then falls to zero, both linearly, as published. Scores
    have no weight decay. S starts at zero and only its order matters, so the size of the rate changes
    nothing under either; its course does, because it weighs early steps against late ones.
    """

    version: ClassVar[int] = 2  # before, the masks of the next step masked the gradient
    title: ClassVar[str] = "movement scores"
    soft: ClassVar[bool] = True
    shardable: ClassVar[bool] = True
    # only scores use the straight-through gradient; the loss sees a pruned weight as W * 0, as published
    straight_through: ClassVar[bool] = False

    every: PositiveInt = 1
    """Optimizer steps between two choices of the remaining weights. Scores change at each step."""
    learning: Learning = "sum"
    """How scores learn."""

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All scores are zero. Under `adamw` a last dimension has the score and its two moments."""
        last = () if self.learning == "sum" else (3,)
        return {name: weight.new_zeros((*weight.shape, *last)) for name, weight in weights.items()}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Update the scores; at an event, keep the weights with the largest scores."""
        grads, weights = view.grads, view.weights
        if self.learning == "sum":
            state = {
                name: score.addcmul(grads[name], weights[name], value=-1) for name, score in state.items()
            }
            scores = state
        else:
            rate = self.rate(view.step, view.steps)
            state = {
                name: adamw(values, grads[name] * weights[name], view.step + 1, rate)
                for name, values in state.items()
            }
            scores = {name: values[..., 0] for name, values in state.items()}
        to = self.due(view.step, view.steps)
        if to is not None:
            # without `within`: pruned weights can return
            view.set_masks(masks(scores, to, shards=view.shards))
        return state

    def rate(self, step: int, steps: int) -> float:
        """The rate of the scores under `adamw`, as a share of its peak."""
        return linear(step, window(steps, self.since, self.until)[0], steps)

    def due(self, step: int, steps: int) -> Target | None:
        """As scheduled. After the last event the target stays, and the masks can still change."""
        target = super().due(step, steps)
        late = step - window(steps, self.since, self.until)[1]
        return self.to if target is None and late > 0 and late % self.every == 0 else target


def adamw(values: Tensor, gradient: Tensor, step: int, rate: float) -> Tensor:
    """Scores and their two moments, [..., 3], after step `step` of AdamW, counted from 1.

    Loshchilov & Hutter (2019), algorithm 2, without weight decay.
    """
    import torch

    score, first, second = values.unbind(-1)
    first = first.lerp(gradient, 1 - BETAS[0])
    second = second * BETAS[1] + gradient.square() * (1 - BETAS[1])
    size = (second / (1 - BETAS[1] ** step)).sqrt_().add_(EPSILON)
    score = score.addcdiv(first / (1 - BETAS[0] ** step), size, value=-rate)
    return torch.stack([score, first, second], -1)


class Movement(GradualMethod):
    """Keep the weights that move away from zero during training, by a cubic schedule.

    The remaining weights are chosen again at each step, as published, also in the cool-down after `until`.
    Before `since`, the warm-up, weights are only scored. The published schedule for SQuAD warms up for a
    tenth of training and cools down for a fifth. There AdamW learns the scores: `learning=adamw`.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="movement",
        summary="movement pruning in training, cubic schedule",
        source="Sanh, Wolf & Rush (2020), arXiv:2005.07683, equations 4 to 6 (hard, top v)",
        distributions=("global", "uniform", "erk"),
        distribution="uniform",
        when="during",
        criterion="the sum over training of -g w, g the gradient through the mask",
        equals=(
            "huggingface/block_movement_pruning c16ceca (TopKBinarizer): from the same scores at "
            "most 1 of 3,093 mask bits differs; it rounds the number of kept weights down"
        ),
    )
    every: PositiveInt = 1
    """Optimizer steps between two choices of the remaining weights. A larger number is cheaper."""
    learning: Learning = "sum"
    """How scores learn: `sum` adds up -g * w; `adamw` is AdamW at a linear rate, as published."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train under the schedule."""
        yield Train(
            updater=Move(
                to=target, since=self.since, until=self.until, every=self.every, learning=self.learning
            )
        )
