"""Gradual magnitude pruning (GMP): sparsity grows while the net trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.rule import Moment, Rule
from smc_eval.stages import Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class Cubic(Rule):
    """Drop the smallest weights, fast at first, slowly at the end. Zhu & Gupta (2017), eq. 1."""

    to: Target
    since: float = Field(0.1, ge=0, lt=1)
    """Share of the training at which pruning begins."""
    until: float = Field(0.8, gt=0, le=1)
    """Share of the training at which the target is reached."""

    def begin(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing is remembered: the masks say it all."""
        return {}

    def update(self, moment: Moment, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """New masks within those worn, from the first step past `since` to the last that is due."""
        from smc_eval.sparse.allocate import allocate

        first, last = self._span(moment.steps)
        if first <= moment.step <= last:
            done = 1.0 if moment.step == last else (moment.step - first) / (last - first)
            level = self.to.sparsity if done == 1 else self.to.sparsity * (1 - (1 - done) ** 3)
            to = self.to if done == 1 else self.to.at(level)
            saliency = {name: weight.abs() for name, weight in moment.weights.items()}
            moment.wear(allocate(saliency, to, within=moment.masks))
        return state

    def _span(self, steps: int) -> tuple[int, int]:
        """The first and the last step at which masks are decided, counted from 0."""
        last = min(steps - 1, round(self.until * steps))
        return min(last, round(self.since * steps)), last


class Gmp(Method):
    """Train, and drop the smallest weights on the way."""

    card: ClassVar[MethodCard] = MethodCard(
        name="gmp",
        summary="gradual magnitude pruning during training",
        source="Zhu & Gupta (2017), arXiv:1710.01878, equation 1",
        moment="during",
    )
    since: float = Field(0.1, ge=0, lt=1)
    """Share of the training at which pruning begins."""
    until: float = Field(0.8, gt=0, le=1)
    """Share of the training at which the target is reached."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train, and prune meanwhile."""
        yield Train(rule=Cubic(to=target, since=self.since, until=self.until))
