"""Movement pruning: keep the weights that move away from zero during training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.gmp import Gradual, GradualMethod
from smc_eval.pruner import masks
from smc_eval.sparse.schedule import window
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView

if TYPE_CHECKING:
    from torch import Tensor


class Move(Gradual):
    """S <- S - g * w; the weights with the largest S remain. Sanh, Wolf & Rush (2020), equations 4 to 6.

    g is the gradient of the masked net; w is the weight, pruned or not. Pruned weights are scored too, and
    return with their values when their score is large enough. A learning rate of the scores would change
    nothing: S starts at zero, and only its order matters.
    """

    title: ClassVar[str] = "movement scores"
    soft: ClassVar[bool] = True
    shardable: ClassVar[bool] = True
    # only scores use the straight-through gradient; the loss sees a pruned weight as W * 0, as published
    straight_through: ClassVar[bool] = False

    every: PositiveInt = 1
    """Optimizer steps between two choices of the remaining weights. Scores change at each step."""

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All scores are zero."""
        return {name: weight.new_zeros(weight.shape) for name, weight in weights.items()}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Update the scores; at an event, keep the weights with the largest scores."""
        grads, weights = view.grads, view.weights
        scores = {name: score.addcmul(grads[name], weights[name], value=-1) for name, score in state.items()}
        to = self.due(view.step, view.steps)
        if to is not None:
            # without `within`: pruned weights can return
            view.set_masks(masks(scores, to, shards=view.shards))
        return scores

    def due(self, step: int, steps: int) -> Target | None:
        """As scheduled. After the last event the target stays, and the masks can still change."""
        target = super().due(step, steps)
        late = step - window(steps, self.since, self.until)[1]
        return self.to if target is None and late > 0 and late % self.every == 0 else target


class Movement(GradualMethod):
    """Keep the weights that move away from zero during training, by a cubic schedule.

    The remaining weights are chosen again at each step, as published, also in the cool-down after `until`.
    Before `since`, the warm-up, weights are only scored. The published schedule for SQuAD warms up for a
    tenth of training and cools down for a fifth.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="movement",
        summary="movement pruning in training, cubic schedule",
        source="Sanh, Wolf & Rush (2020), arXiv:2005.07683, equations 4 to 6 (hard, top v)",
        distributions=("global", "uniform", "erk"),
        distribution="uniform",
        when="during",
    )
    every: PositiveInt = 1
    """Optimizer steps between two choices of the remaining weights. A larger number is cheaper."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train under the schedule."""
        yield Train(updater=Move(to=target, since=self.since, until=self.until, every=self.every))
