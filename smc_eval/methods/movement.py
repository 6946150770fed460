"""Movement pruning: keep what moves away from zero while the net trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.gmp import Gradual, forward
from smc_eval.pruner import masks
from smc_eval.sparse.schedule import window
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView

if TYPE_CHECKING:
    from torch import Tensor


class Move(Gradual):
    """S <- S - g * w, and the largest S survive. Sanh, Wolf & Rush (2020), equations 4 to 6.

    g is the gradient at the weights in use, w the weight itself, masked or not: what is masked is still
    scored and comes back with its value when its score is large enough. A learning rate of the scores
    would change nothing, for S starts at zero and only its order counts.
    """

    soft: ClassVar[bool] = True
    shardable: ClassVar[bool] = True
    straight_through: ClassVar[bool] = (
        False  # of scores alone: a masked weight is W * 0 to the loss, as published
    )

    every: PositiveInt = 1
    """Optimizer steps from one choice of survivors to the next; scores gather at each."""

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores of zero."""
        return {name: weight.new_zeros(weight.shape) for name, weight in weights.items()}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scores move at each step; at an event the masks are those of the largest."""
        grads, weights = view.grads, view.weights
        scores = {name: score.addcmul(grads[name], weights[name], value=-1) for name, score in state.items()}
        to = self.due(view.step, view.steps)
        if to is not None:
            # not within the masks worn: what was masked may come back
            view.set_masks(masks(scores, to, shards=view.shards))
        return scores

    def due(self, step: int, steps: int) -> Target | None:
        """As scheduled; and once the target is reached it stays, while survivors may still change."""
        found = super().due(step, steps)
        beyond = step - window(steps, self.since, self.until)[1]
        return self.to if found is None and beyond > 0 and beyond % self.every == 0 else found


class Movement(Method):
    """Train, keeping the weights that move away from zero, by a cubic schedule.

    The survivors are chosen anew at each step, as published, also in the cool-down after `until`. The
    published schedule of SQuAD warms up for a tenth of training and cools down for a fifth.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="movement",
        summary="movement pruning in training, cubic schedule",
        source="Sanh, Wolf & Rush (2020), arXiv:2005.07683, equations 4 to 6 (hard, top v)",
        when="during",
        distribution="uniform",
        distributions=("global", "uniform", "erk"),
    )
    since: float = Field(0.1, ge=0, le=1)
    """Share of training at which to begin: the warm-up before it only scores."""
    until: float = Field(0.8, ge=0, le=1)
    """Share of training at which the target is reached; the rest is the cool-down."""
    every: PositiveInt = 1
    """Optimizer steps from one choice of survivors to the next; more is cheaper."""

    @model_validator(mode="after")
    def _upward(self) -> Self:
        forward(self.since, self.until)
        return self

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train under the schedule."""
        yield Train(updater=Move(to=target, since=self.since, until=self.until, every=self.every))
