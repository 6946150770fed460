"""Gradual magnitude pruning (GMP): sparser step by step while the net trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import masks
from smc_eval.sparse.schedule import cubic, spacing, window
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView, Updater

if TYPE_CHECKING:
    from torch import Tensor


class Gradual(Updater):
    """Reaches a target step by step: sparsity rises fast at first, slowly at the end.

    Zhu & Gupta (2017), equation 1. What decides who stays is a subclass's.
    """

    to: Target
    """Reached exactly, at `until`."""
    initial: float = Field(0.0, ge=0, lt=1)
    """Sparsity of the first event."""
    since: float = Field(0.1, ge=0, le=1)
    """Share of training at the first event."""
    until: float = Field(0.8, ge=0, le=1)
    """Share of training at the last event; what follows trains the final masks."""
    every: PositiveInt = 100
    """Optimizer steps from one event to the next."""
    events: PositiveInt = 20
    """At least so many events: where training is too short, they follow closer on each other."""

    @model_validator(mode="after")
    def _upward(self) -> Self:
        forward(self.since, self.until)
        if self.initial > self.to.sparsity:
            raise ValueError(f"sparsity {self.initial:g} at first is more than {self.to.sparsity:g} at last")
        return self

    def due(self, step: int, steps: int) -> Target | None:
        """The target of this step, if it is one at which masks change: the whole target at the last."""
        first, last = window(steps, self.since, self.until)
        if step == last:
            return self.to
        span = last - first
        if not first <= step < last or (step - first) % spacing(span, self.every, self.events):
            return None
        return self.to.at(cubic(self.initial, self.to.sparsity, (step - first) / span))

    def densities(self, steps: int, density: float) -> Iterator[tuple[int, float]]:
        """The targets of its events."""
        first, last = window(steps, self.since, self.until)
        free, span = self.to.pattern == "free", last - first
        for step in range(first, last, spacing(span, self.every, self.events)):
            sparsity = cubic(self.initial, self.to.sparsity, (step - first) / span)
            yield step, 1 - (sparsity if free else self.to.at(sparsity).sparsity)
        yield last, self.to.density


class Cubic(Gradual):
    """Drop the smallest of what is still alive; nothing comes back."""

    shardable: ClassVar[bool] = True

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing to remember: the step says all."""
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """At an event, the masks of the largest magnitudes among what is alive."""
        to = self.due(view.step, view.steps)
        if to is None:
            return state
        from smc_eval.sparse.allocate import expected

        alive, shards = view.masks, view.shards
        left = sum(shards.count(alive.values()))
        if expected(shards.shapes(alive), to) < left:
            magnitude = {name: weight.abs() for name, weight in view.weights.items()}
            view.set_masks(masks(magnitude, to, within=alive, shards=shards))
        return state

    def densities(self, steps: int, density: float) -> Iterator[tuple[int, float]]:
        """The targets of its events, once they are sparser than the net."""
        return ((step, min(density, density)) for step, density in super().densities(steps, density))

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """None: magnitudes need no gradient."""
        return ()


def forward(since: float, until: float) -> None:
    """Refuse a schedule that ends before it begins.

    Raises:
        ValueError: it does.
    """
    if since > until:
        raise ValueError(f"a schedule from {since:g} to {until:g} of training goes backward")


class Gmp(Method):
    """Train, dropping the smallest weights on the way by a cubic schedule.

    Zhu & Gupta prune every 100 to 1000 steps and see no difference between; 100 it is here, and
    fewer where training is short. SMC-Bench prunes every 1000 steps, and so four times in its shortest
    run; there the last event lies before the end of the schedule and misses the target, here it does not.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="gmp",
        summary="gradual magnitude pruning in training, cubic schedule",
        source="Zhu & Gupta (2017), arXiv:1710.01878, equation 1",
        when="during",
    )
    paper: ClassVar[Mapping[str, Any]] = {"every": 1000, "events": 4}

    since: float = Field(0.1, ge=0, le=1)
    """Share of training at which to begin."""
    until: float = Field(0.8, ge=0, le=1)
    """Share of training at which the target is reached."""
    every: PositiveInt = 100
    """Optimizer steps from one pruning to the next."""
    events: PositiveInt = 20
    """At least so many prunings: where training is too short, they follow closer on each other."""

    @model_validator(mode="after")
    def _upward(self) -> Self:
        forward(self.since, self.until)
        return self

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train under the schedule."""
        yield Train(
            updater=Cubic(to=target, since=self.since, until=self.until, every=self.every, events=self.events)
        )
