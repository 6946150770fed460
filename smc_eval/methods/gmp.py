"""Gradual magnitude pruning (GMP): sparsity rises during training."""

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
    """Reaches a target in several events. Sparsity rises fast at first, and slowly at the end.

    Zhu & Gupta (2017), equation 1. A subclass decides which weights remain.
    """

    to: Target
    """Reached exactly, at `until`."""
    initial: float = Field(0.0, ge=0, lt=1)
    """Sparsity of the first event."""
    since: float = Field(0.1, ge=0, le=1)
    """Share of training at the first event."""
    until: float = Field(0.8, ge=0, le=1)
    """Share of training at the last event. Afterwards the masks stay."""
    every: PositiveInt = 100
    """Optimizer steps between two events."""
    events: PositiveInt = 20
    """Smallest number of events. In a short training the interval shrinks to reach it."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        refuse_backward(self.since, self.until)
        if self.initial > self.to.sparsity:
            raise ValueError(
                f"initial sparsity {self.initial:g} is above the target sparsity {self.to.sparsity:g}"
            )
        return self

    def due(self, step: int, steps: int) -> Target | None:
        """The target of the event at this step; None if there is no event. The last is the full target."""
        first, last = window(steps, self.since, self.until)
        if step == last:
            return self.to
        span = last - first
        if not first <= step < last or (step - first) % spacing(span, self.every, self.events):
            return None
        return self.to.at(cubic(self.initial, self.to.sparsity, (step - first) / span))

    def densities(self, steps: int, density: float) -> Iterator[tuple[int, float]]:
        """The densities of its events."""
        first, last = window(steps, self.since, self.until)
        free, span = self.to.pattern == "free", last - first
        for step in range(first, last, spacing(span, self.every, self.events)):
            sparsity = cubic(self.initial, self.to.sparsity, (step - first) / span)
            yield step, 1 - (sparsity if free else self.to.at(sparsity).sparsity)
        yield last, self.to.density


class Cubic(Gradual):
    """Prunes the smallest of the unpruned weights. No weight returns."""

    title: ClassVar[str] = "the cubic GMP schedule"
    shardable: ClassVar[bool] = True

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """No state: the schedule depends on the step alone."""
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """At an event, keep the largest magnitudes among the unpruned weights."""
        to = self.due(view.step, view.steps)
        if to is None:
            return state
        from smc_eval.sparse.allocate import expected

        unpruned, shards = view.masks, view.shards
        remaining = sum(shards.count(unpruned.values()))
        if expected(shards.shapes(unpruned), to) < remaining:
            magnitude = {name: weight.abs() for name, weight in view.weights.items()}
            view.set_masks(masks(magnitude, to, within=unpruned, shards=shards))
        return state

    def densities(self, steps: int, density: float) -> Iterator[tuple[int, float]]:
        """The densities of its events, but never above that of the net."""
        return ((step, min(density, scheduled)) for step, scheduled in super().densities(steps, density))

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """No step: magnitudes need no gradient."""
        return ()


def refuse_backward(since: float, until: float) -> None:
    """Refuse a schedule that ends before it begins.

    Raises:
        ValueError: `since` is above `until`.
    """
    if since > until:
        raise ValueError(f"a schedule from {since:g} to {until:g} of training goes backward")


class GradualMethod(Method):
    """Sparsity rises during a part of training."""

    since: float = Field(0.1, ge=0, le=1)
    """Share of training at which pruning begins."""
    until: float = Field(0.8, ge=0, le=1)
    """Share of training at which the target is reached."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        refuse_backward(self.since, self.until)
        return self


class Gmp(GradualMethod):
    """Prune the smallest weights during training, by a cubic schedule.

    Zhu & Gupta prune every 100 to 1000 steps and see no difference. Here it is every 100 steps, or fewer
    in a short training. SMC-Bench prunes every 1000 steps, which is four times in its shortest run. Its
    last event comes before the end of the schedule and misses the target; here the target is met.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="gmp",
        summary="gradual magnitude pruning in training, cubic schedule",
        source="Zhu & Gupta (2017), arXiv:1710.01878, equation 1",
        when="during",
        criterion="|w|, with a sparsity that rises by a cubic in time",
        equals=(
            "neuralmagic/sparseml 1c04a01 (cubic interpolation): no sparsity of the schedule "
            "differs by more than 2e-16"
        ),
    )
    paper: ClassVar[Mapping[str, Any]] = {"every": 1000, "events": 4}

    every: PositiveInt = 100
    """Optimizer steps between two prunings."""
    events: PositiveInt = 20
    """Smallest number of prunings. In a short training the interval shrinks to reach it."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train under the schedule."""
        yield Train(
            updater=Cubic(to=target, since=self.since, until=self.until, every=self.every, events=self.events)
        )
