"""RigL: prune small weights and grow those with large gradients, during training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.omp import Magnitude
from smc_eval.methods.random import RandomSaliency
from smc_eval.methods.rewiring import Rewiring
from smc_eval.methods.snip import Sensitivity
from smc_eval.pruner import Pruner
from smc_eval.spec import OmitDefault
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView

if TYPE_CHECKING:
    from torch import Tensor


Rounding = Literal["up", "down"]


class Regrow(Rewiring):
    """At some steps, each tensor prunes a share of its weights and grows as many others.

    Evci et al. (2020), algorithm 1. Pruned weights can grow, and so can those that this change prunes:
    such a weight keeps its value; all others start at zero. A tensor therefore always has enough places
    to grow, and keeps its number of weights exactly.
    """

    title: ClassVar[str] = "drop-and-grow mask updates"
    shardable: ClassVar[bool] = True

    rounding: Annotated[Rounding, OmitDefault()] = "up"
    """How a share becomes a number of weights. With `down`, a tensor of few weights stays as it is."""
    grow: Literal["gradient", "chance"] = "gradient"
    """`gradient` grows weights with the largest gradients, and at random where all are zero; `chance` grows
    at random."""
    drop: Literal["magnitude", "signs"] = "magnitude"
    """`magnitude` prunes the weights nearest to zero; `signs` does so among the positive and among the
    negative weights."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """At a change, new masks with the same number of weights in each tensor.

        If weights grow by gradient, the optimizer step is skipped then.
        """
        share = self.due(view.step, view.steps)
        if share is not None:
            weights, grads = view.weights, view.grads if self.grow == "gradient" else {}
            view.set_masks(
                {
                    name: self._rewired(view, weights[name], grads.get(name), mask, share)
                    for name, mask in view.masks.items()
                }
            )
            if self.grow == "gradient":  # algorithm 1: a step changes either masks or weights
                view.skip()
        return state

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """The steps of its changes, if weights grow by gradient."""
        return self.changes(steps) if self.grow == "gradient" else ()

    def _rewired(
        self, view: StepView, weight: Tensor, gradient: Tensor | None, mask: Tensor, share: float
    ) -> Tensor:
        """The next mask of a tensor, with the same number of weights."""
        from smc_eval.sparse.regrow import grown, remaining_after_drop

        shards = view.shards
        (pruned,) = shards.count([~mask])
        if not pruned:
            return mask
        stays = remaining_after_drop(
            weight, mask, share, signs=self.drop == "signs", up=self.rounding == "up", shards=shards
        )
        before, after = shards.count([mask, stays])
        return stays | grown(gradient, ~stays, before - after, view.generator, shards)


class RigL(Method):
    """Prune; then, during training, prune small weights and grow those with large gradients.

    The options of `--protocol paper` are those of SMC-Bench: every 1000 steps, from half of the weights to
    a two-hundredth, until the end of training. Its code also grew unpruned weights, and so lost up to
    three quarters of an embedding. Here every tensor keeps its number of weights.
    """

    version: ClassVar[int] = 2  # before, the number of pruned weights was rounded up
    paper: ClassVar[Mapping[str, Any]] = {
        "share": 0.5,
        "end": 0.005,
        "stop": 1.0,
        "every": 1000,
        "rounding": "up",
    }

    share: float = Field(0.3, gt=0, le=1)
    """Share of a tensor's weights that the first change prunes and grows."""
    rounding: Rounding = "down"
    """How a share becomes a number of weights: `down`, as the authors' code does, or `up`, as that of
    SMC-Bench does. With `down`, tensors that keep fewer weights than 1 / share do not change."""
    end: float = Field(0.0, ge=0, le=1)
    """Share at `stop`; between them the share falls by a cosine."""
    stop: float = Field(0.75, gt=0, le=1)
    """Share of training after which the masks stay."""
    every: int = Field(100, ge=2)
    """Optimizer steps between two changes. In a short training fewer, so that there are six changes."""

    @abstractmethod
    def first(self) -> Pruner:
        """The pruner of the first masks."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune, train under the updater."""
        yield Prune(by=self.first(), to=target)
        yield Train(updater=self._updater())

    def _updater(self) -> Regrow:
        return Regrow(
            share=self.share, end=self.end, stop=self.stop, every=self.every, rounding=self.rounding
        )


def rigl_card(start: str, name: str, source: str) -> MethodCard:
    """The card of a RigL that starts from the masks of another method."""
    return MethodCard(
        name=f"{start}-rigl",
        summary=f"RigL, started from {name}",
        source=f"Evci et al. (2020), arXiv:1911.11134, algorithm 1; start: {source}",
        when="during",
        patterns=("free",),
        criterion="|w| decides what is pruned, and |g| what grows",
        equals="google-research/rigl d39fc7d (rigl_tf2): no mask bit and no weight of 24 changes differs. "
        "Where gradients are zero, it grows in order of place, and smc-eval at random",
    )


class MagnitudeRigL(RigL):
    """RigL, started from one-shot magnitude pruning."""

    card: ClassVar[MethodCard] = rigl_card(
        "omp", "one-shot magnitude pruning", "Han et al. (2015), arXiv:1506.02626"
    )

    def first(self) -> Pruner:
        """Magnitude."""
        return Magnitude()


class SensitivityRigL(RigL):
    """RigL, started from SNIP."""

    card: ClassVar[MethodCard] = rigl_card("snip", "SNIP", "Lee et al. (2019), arXiv:1810.02340")
    paper: ClassVar[Mapping[str, Any]] = {**RigL.paper, "batches": 1, "dropout": True}

    batches: PositiveInt = Sensitivity().batches
    """Training batches that SNIP uses; without dropout at most all, once."""
    dropout: bool = False
    """Whether SNIP's gradient has dropout, as in training. Published: it has none."""

    def first(self) -> Pruner:
        """Connection sensitivity."""
        return Sensitivity(batches=self.batches, dropout=self.dropout)


class RandomRigL(RigL):
    """RigL, started from random pruning."""

    card: ClassVar[MethodCard] = rigl_card(
        "random", "random pruning", "random masks, as in section 3 of the same paper"
    )

    def first(self) -> Pruner:
        """Random saliency."""
        return RandomSaliency()
