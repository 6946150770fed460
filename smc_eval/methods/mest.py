"""MEST, memory-economic sparse training: exchange less and less of the weights, the new ones at random."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.omp import Magnitude
from smc_eval.methods.rewiring import Rewiring
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView

if TYPE_CHECKING:
    from torch import Tensor

Bound = Literal["hard", "soft"]
"""Whether the weights that a change grows count in the target while they are trained, or come on top."""


class Mutation(Rewiring):
    """At some steps, the least important weights go and random others come; in two stages, then none.

    Yuan et al. (2021). The importance of a weight is |w| + `gradient` |g|. Under a `hard` bound a change
    prunes a share of the weights and grows as many. Under a `soft` bound it grows the share on top of the
    target; they are trained, and the next change prunes to the target, old and new weights alike. At `stop`
    the extra weights go, and the masks stay. All grown weights start at zero, also those that the same
    change pruned.
    """

    title: ClassVar[str] = "elastic mutation of masks"
    shardable: ClassVar[bool] = True

    to: Target
    """The target, with a distribution that sets budgets. The masks meet it before the training."""
    bound: Bound = "soft"
    """`hard` or `soft`."""
    gradient: float = Field(0.01, ge=0)
    """Weight of the gradient in the importance."""
    share: float = Field(0.2, gt=0, le=1)
    """Mutated share of the target's weights in the first stage."""
    end: float = Field(0.1, ge=0, le=1)
    """Mutated share in the second stage."""
    half: float = Field(0.5625, ge=0, le=1)
    """Share of training at which the second stage begins."""
    events: PositiveInt = 24
    """Smallest number of changes before `stop`."""

    def due(self, step: int, steps: int) -> float | None:
        """The share to mutate at this step, 0 at the last change; None if the masks do not change."""
        if step == self.last(steps):
            return 0.0
        if step not in self.changes(steps):
            return None
        return self.share if step < self.half * steps else self.end

    def changes(self, steps: int) -> range:
        """The steps at which weights grow. The first is the first of training."""
        return range(0, self.last(steps), self.interval(steps))

    def last(self, steps: int) -> int:
        """The step of the last change, which only prunes."""
        return min(math.ceil(self.stop * steps), steps - 1)

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """At a change, prune the least important weights, then grow random ones."""
        from smc_eval.sparse.allocate import budgets
        from smc_eval.sparse.distribution import share_out
        from smc_eval.sparse.regrow import grown
        from smc_eval.sparse.select import largest

        share = self.due(view.step, view.steps)
        if share is None or (share == 0 and self.bound == "hard"):
            return state
        weights, masks, shards = view.weights, view.masks, view.shards
        shapes = shards.shapes(masks)
        counts, soft = budgets(shapes, self.to), self.bound == "soft"
        room = {
            name: math.prod(shape) - counts[name] if soft else counts[name] for name, shape in shapes.items()
        }
        mutated = share_out(min(round(share * sum(counts.values())), sum(room.values())), counts, room)
        importance = self._importance(view, weights)
        stays = {
            name: largest(
                {"": importance[name]}, count - (0 if soft else mutated[name]), {"": masks[name]}, shards
            )[""]
            for name, count in counts.items()
        }
        view.set_masks(stays)  # on its own, so that a weight that grows back starts at zero
        if share:
            view.set_masks(
                {
                    name: stay | grown(None, ~stay, mutated[name], view.generator, shards)
                    for name, stay in stays.items()
                }
            )
        return state

    def densities(self, steps: int, density: float) -> Iterator[tuple[int, float]]:
        """Under a soft bound, the density with the extra weights, and the target's at the end."""
        if self.bound == "hard":
            return
        for step in (*self.changes(steps), self.last(steps)):
            yield step, min(1.0, density * (1 + (self.due(step, steps) or 0.0)))

    def _importance(self, view: StepView, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """|w| + lambda |g|. The gradients are those of unpruned weights alone."""
        importance = {name: weight.abs() for name, weight in weights.items()}
        if not self.gradient:
            return importance
        grads = view.gradients_within(view.masks)
        return {name: size.add(grads[name].abs(), alpha=self.gradient) for name, size in importance.items()}


class Mest(Method):
    """Prune the untrained net by magnitude. During training, exchange weights for random ones, in two stages.

    MEST+EM&S, with the soft memory bound, is the default; `bound=hard` is MEST+EM. The mutated share is
    halved after 90 of 160 parts of training and ends after 120, as in the authors' scripts, and is 20 % of
    the remaining weights, as in their README: 2 % of all at a sparsity of 0.9. Their scripts for the soft
    bound grow 5 % of all. Their masks change every 5 of 160 epochs; here every `every` steps, or more often
    in a short training. From `stop` on, the masks have the target's sparsity exactly, and stay.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="mest",
        summary="memory-economic sparse training: elastic mutation of masks, from magnitude pruning",
        source="Yuan et al. (2021), arXiv:2110.14032",
        when="during",
        patterns=("free",),
        distribution="uniform",
        distributions=("uniform", "erk"),
        criterion="prune small |w| + lambda |g|; grow at random",
        equals="boone891214/MEST a428026: 0 of 120,000 bits of what it prunes differ, with gradients given. "
        "Its scripts leave lambda at 0, and it clears the gradients before it reads them. What grows is "
        "random in both",
    )
    bound: Bound = "soft"
    """`soft` trains grown weights on top of the target until the next change; `hard` counts them in it."""
    gradient: float = Field(0.01, ge=0)
    """Weight of the gradient in the importance; lambda in the paper."""
    share: float = Field(0.2, gt=0, le=1)
    """Mutated share of the target's weights, until `half`."""
    end: float = Field(0.1, ge=0, le=1)
    """Mutated share from `half` to `stop`."""
    half: float = Field(0.5625, ge=0, le=1)
    """Share of training at which the mutated share falls to `end`."""
    stop: float = Field(0.75, gt=0, le=1)
    """Share of training after which the masks stay, at the target."""
    every: int = Field(100, ge=2)
    """Optimizer steps between two changes. In a short training fewer, so that there are twenty-four."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.half > self.stop:
            raise ValueError(f"half {self.half:g} is after stop {self.stop:g}; it must not be later")
        return self

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune by magnitude, train under the updater."""
        yield Prune(by=Magnitude(), to=target)
        yield Train(
            updater=Mutation(
                to=target,
                bound=self.bound,
                gradient=self.gradient,
                share=self.share,
                end=self.end,
                half=self.half,
                stop=self.stop,
                every=self.every,
            )
        )
