"""AC/DC: dense and compressed phases take turns during training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import masks
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView, Updater

if TYPE_CHECKING:
    from torch import Tensor


class Alternate(Updater):
    """Compressed and dense phases take turns. The last phase is compressed.

    Peste et al. (2021), section 3.2. A compressed phase begins with the weights of largest magnitude, chosen
    among all, and trains these alone. A dense phase begins with all weights: those that were pruned start at
    zero, and the optimizer's momentum is zero.
    """

    title: ClassVar[str] = "compressed and dense phases in turn"
    shardable: ClassVar[bool] = True

    to: Target
    """The target of each compressed phase, met exactly."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of training before the first compressed phase. It is dense."""
    phase: float = Field(0.05, gt=0, le=1)
    """Share of training of each phase in between."""
    last_dense: float = Field(0.1, ge=0, lt=1)
    """Share of training of the last dense phase."""
    last_compressed: float = Field(0.15, ge=0, le=1)
    """Share of training of the last compressed phase, which ends the training."""
    reset: bool = True
    """Whether a dense phase begins with a momentum of zero, for all parameters."""

    @model_validator(mode="after")
    def _room_for_phases(self) -> Self:
        refuse_no_phases(self.warmup, self.last_dense, self.last_compressed)
        return self

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """No state: the phases depend on the step alone."""
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Nothing changes within a step."""
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """At the start of a phase, its masks."""
        compressed = dict(self.phases(view.steps)).get(view.step)
        if compressed:
            magnitude = {name: weight.abs() for name, weight in view.weights.items()}
            view.set_masks(masks(magnitude, self.to, shards=view.shards))
        elif compressed is not None:
            view.set_masks({name: mask | True for name, mask in view.masks.items()})
            if self.reset:
                view.reset_momentum()
        return state

    def phases(self, steps: int) -> list[tuple[int, bool]]:
        """The first step of each phase after the warm-up, and whether the phase is compressed.

        The phases between warm-up and last dense phase are an odd number, because the first and the last of
        them are compressed. In a short training they are fewer, so that each has a step.
        """
        first, dense, last = (
            round(share * steps)
            for share in (self.warmup, 1 - self.last_dense - self.last_compressed, 1 - self.last_compressed)
        )
        count = max(0, min(round((dense - first) / max(1.0, self.phase * steps)), dense - first))
        count -= count > 0 and count % 2 == 0
        starts = [(first + (dense - first) * number // count, number % 2 == 0) for number in range(count)]
        phases, before = list[tuple[int, bool]](), False
        for start, compressed in [*starts, (dense, False), (last, True)]:
            if phases and phases[-1][0] == start:
                phases.pop()
                before = not before
            if compressed != before:
                phases.append((start, compressed))
                before = compressed
        return phases

    def densities(self, steps: int, density: float) -> list[tuple[int, float]]:
        """The density of each phase, from the step before it on."""
        return [
            (start - 1, self.to.density if compressed else 1.0) for start, compressed in self.phases(steps)
        ]

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """No step: magnitudes need no gradient."""
        return ()


def refuse_no_phases(warmup: float, last_dense: float, last_compressed: float) -> None:
    """Refuse a schedule that leaves no training to the phases in between.

    Raises:
        ValueError: the three shares add up to 1 or more.
    """
    if warmup + last_dense + last_compressed >= 1:
        raise ValueError(
            f"warmup {warmup:g}, last_dense {last_dense:g} and last_compressed {last_compressed:g} add up to "
            "1 or more; together they must leave a share of training to the phases in between"
        )


class AcDc(Method):
    """Train densely, then in compressed and dense phases in turn, and compressed at the end.

    The defaults are the schedule for ImageNet, as shares of its 100 epochs: warm-up until epoch 10, phases of
    5 epochs until 75, dense until 85, compressed until 100. There phases are whole epochs; here they are
    shares of the steps, so that a short training has as many. Under Adam the momentum is its first moment.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="ac-dc",
        summary="dense and compressed phases in turn, by magnitude, compressed at the end",
        source="Peste, Iofinova, Vladu & Alistarh (2021), arXiv:2106.12379, section 3.2",
        when="during",
        criterion="|w| at the start of each compressed phase",
        equals="IST-DASLab/ACDC ac53210, over 100 steps of SGD: no mask bit differs, weights by at most 5e-7 "
        "where both keep the same number. It keeps one weight fewer, those above the threshold. Its reset of "
        "the momentum does nothing with torch 2, whose zero_grad leaves no gradients; it was run with zeroed "
        "ones. It groups N:M in convolutions over input channels",
    )
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of training before the first compressed phase."""
    phase: float = Field(0.05, gt=0, le=1)
    """Share of training of each phase in between."""
    last_dense: float = Field(0.1, ge=0, lt=1)
    """Share of training of the last dense phase."""
    last_compressed: float = Field(0.15, ge=0, le=1)
    """Share of training of the last phase, which is compressed."""
    reset: bool = True
    """Whether a dense phase begins with a momentum of zero."""

    @model_validator(mode="after")
    def _room_for_phases(self) -> Self:
        refuse_no_phases(self.warmup, self.last_dense, self.last_compressed)
        return self

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train under the phases."""
        yield Train(
            updater=Alternate(
                to=target,
                warmup=self.warmup,
                phase=self.phase,
                last_dense=self.last_dense,
                last_compressed=self.last_compressed,
                reset=self.reset,
            )
        )
