"""RigL: drop small weights and grow steep ones while the net trains, from another method's masks."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.omp import Magnitude
from smc_eval.methods.random import RandomSaliency
from smc_eval.methods.snip import Sensitivity
from smc_eval.pruner import Pruner
from smc_eval.sparse.schedule import cosine, spacing
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView, Updater

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = "Evci et al. (2020), arXiv:1911.11134, algorithm 1; start: "


class Regrow(Updater):
    """Now and then each tensor drops a share of its weights and grows as many elsewhere.

    Evci et al. (2020), algorithm 1. What may grow is what was dead and what was just dropped: a weight
    that is dropped and grown at once keeps its value, any other starts at zero. So a tensor always has
    room for as many as it drops, and keeps its count exactly, however full it is.
    """

    shardable: ClassVar[bool] = True

    grow: Literal["gradient", "chance"] = "gradient"
    """`gradient` grows where the gradient is largest, by lot where there is none; `chance` by lot."""
    drop: Literal["magnitude", "signs"] = "magnitude"
    """`magnitude` drops what is nearest to zero; `signs` does so of either sign apart."""
    share: float = Field(0.3, gt=0, le=1)
    """Share of a tensor's weights that is dropped at first."""
    end: float = Field(0.0, ge=0, le=1)
    """Share to which a cosine leads by the time of `stop`; as large as `share`, it stays constant."""
    stop: float = Field(0.75, gt=0, le=1)
    """Share of training after which masks stay as they are."""
    every: int = Field(100, ge=2)
    """Optimizer steps from one change to the next."""
    events: PositiveInt = 6
    """At least so many changes: where training is too short, they follow closer on each other, but
    never on every step, for then no weight would learn."""

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing to remember: the step says all."""
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """At a change, new masks with as many weights of each tensor; by gradient, no weight moves then."""
        share = self.due(view.step, view.steps)
        if share is not None:
            weights, grads = view.weights, view.grads if self.grow == "gradient" else {}
            view.set_masks(
                {
                    name: self._rewired(view, weights[name], grads.get(name), mask, share)
                    for name, mask in view.masks.items()
                }
            )
            if self.grow == "gradient":  # algorithm 1: a step either changes connections or moves weights
                view.skip()
        return state

    def due(self, step: int, steps: int) -> float | None:
        """The share to drop at this step, if it is one at which masks change."""
        if step not in self._changes(steps):
            return None
        return cosine(self.share, self.end, step / (self.stop * steps))

    def densities(self, steps: int, density: float) -> Sequence[tuple[int, float]]:
        """None: as many grow as go."""
        return ()

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """The steps of its changes, if it grows by gradient."""
        return self._changes(steps) if self.grow == "gradient" else ()

    def _changes(self, steps: int) -> range:
        """The steps at which masks change."""
        until = self.stop * steps
        interval = max(2, spacing(int(until), self.every, self.events))
        return range(interval, math.ceil(until), interval)

    def _rewired(
        self, view: StepView, weight: Tensor, gradient: Tensor | None, mask: Tensor, share: float
    ) -> Tensor:
        """A tensor's next mask, with as many True."""
        from smc_eval.sparse.regrow import grown, survivors

        shards = view.shards
        (dead,) = shards.count([~mask])
        if not dead:
            return mask
        stays = survivors(weight, mask, share, signs=self.drop == "signs", shards=shards)
        before, after = shards.count([mask, stays])
        return stays | grown(gradient, ~stays, before - after, view.generator, shards)


class RigL(Method):
    """Prune, then train while each tensor drops small weights and grows where the gradient is large.

    The options of `--protocol paper` are SMC-Bench's: every 1000 steps, from half the weights to a
    two-hundredth, to the end of training. Its code also grew weights that were alive already, and so
    lost up to three quarters of an embedding; here every tensor keeps its count.
    """

    paper: ClassVar[Mapping[str, Any]] = {"share": 0.5, "end": 0.005, "stop": 1.0, "every": 1000}

    share: float = Field(0.3, gt=0, le=1)
    """Share of a tensor's weights that is dropped and grown at first."""
    end: float = Field(0.0, ge=0, le=1)
    """Share to which a cosine leads by the time of `stop`."""
    stop: float = Field(0.75, gt=0, le=1)
    """Share of training after which masks stay as they are."""
    every: int = Field(100, ge=2)
    """Optimizer steps from one change to the next; fewer in a training that would have less than six."""

    @abstractmethod
    def first(self) -> Pruner:
        """What makes the masks to start from."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune, train under the rule."""
        yield Prune(by=self.first(), to=target)
        yield Train(updater=Regrow(share=self.share, end=self.end, stop=self.stop, every=self.every))


class MagnitudeRigL(RigL):
    """RigL from the largest weights of the untrained net."""

    card: ClassVar[MethodCard] = MethodCard(
        name="omp-rigl",
        summary="RigL, started from one-shot magnitude pruning",
        source=SOURCE + "Han et al. (2015), arXiv:1506.02626",
        when="during",
        patterns=("free",),
    )

    def first(self) -> Pruner:
        """Magnitude."""
        return Magnitude()


class SensitivityRigL(RigL):
    """RigL from SNIP's masks."""

    card: ClassVar[MethodCard] = MethodCard(
        name="snip-rigl",
        summary="RigL, started from SNIP",
        source=SOURCE + "Lee et al. (2019), arXiv:1810.02340",
        when="during",
        patterns=("free",),
    )
    paper: ClassVar[Mapping[str, Any]] = {**RigL.paper, "batches": 1}

    batches: PositiveInt = Sensitivity().batches
    """Training batches that SNIP looks at."""

    def first(self) -> Pruner:
        """Connection sensitivity."""
        return Sensitivity(batches=self.batches)


class RandomRigL(RigL):
    """RigL from weights drawn by lot."""

    card: ClassVar[MethodCard] = MethodCard(
        name="random-rigl",
        summary="RigL, started from random pruning",
        source=SOURCE + "random, section 3",
        when="during",
        patterns=("free",),
    )

    def first(self) -> Pruner:
        """Chance."""
        return RandomSaliency()
