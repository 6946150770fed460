"""Top-KAST: the largest weights are used, more of them learn, and the others wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import masks
from smc_eval.sparse.schedule import spacing
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView, Updater

if TYPE_CHECKING:
    from torch import Tensor


class AlwaysSparse(Updater):
    """The forward pass uses a set A of weights, and a larger set B learns. Both are the largest of a tensor.

    Jayakumar et al. (2020), sections 2.1 to 2.3. A is the top D of the weights, B the top D + M. Weights
    outside of B keep their values: neither gradients nor momentum nor weight decay change them. Beside the
    loss of the task, the L2 penalty of section 2.3 pulls at the weights in A, and 1 / D times as much at
    those in B without A.
    """

    title: ClassVar[str] = "the top weights in use, more of them learning"
    soft: ClassVar[bool] = True
    shardable: ClassVar[bool] = True
    straight_through: ClassVar[bool] = False

    to: Target
    """The target of A, met exactly."""
    backward: float = Field(2.0, ge=1, le=1000)
    """Number of weights in B, as a multiple of those in A; at most all."""
    penalty: float = Field(1e-4, ge=0, le=1)
    """Coefficient of the L2 penalty: the gradient of a weight in A grows by this times the weight."""
    every: PositiveInt = 100
    """Optimizer steps between two choices of A and B."""
    events: PositiveInt = 20
    """Smallest number of choices. In a short training the interval shrinks to reach it."""

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pull at each weight as a multiple of the penalty: 1 in A, 1 / D in B without A, else 0."""
        return {name: weight.new_zeros(weight.shape) for name, weight in weights.items()}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights in B learn from the loss and from the penalty; the others are held."""
        learning = {name: pull.bool() for name, pull in state.items()}
        gradients = view.gradients_within(learning)
        if self.penalty:
            weights = view.weights
            for name, gradient in gradients.items():
                gradient.addcmul_(state[name], weights[name], value=self.penalty)
        view.set_gradients(gradients)
        view.hold(learning)
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """At a choice, new A and B from the weights of the next pass."""
        if view.step % spacing(view.steps, self.every, self.events):
            return state
        magnitude = {name: weight.abs() for name, weight in view.weights.items()}
        used = masks(magnitude, self.to, shards=view.shards, weights=view.weights)
        wider = self.to.at(1 - self.gradient_density(self.to.density))
        learning = (
            masks(magnitude, wider, shards=view.shards, weights=view.weights) if wider.sparsity else None
        )
        view.set_masks(used)
        outer = 1 / self.to.density
        pulls = {}
        for name, mask in used.items():
            pull = magnitude[name].new_full(mask.shape, outer)
            if learning is not None:
                pull.masked_fill_(~(learning[name] | mask), 0)
            pulls[name] = pull.masked_fill_(mask, 1)
        return pulls

    def densities(self, steps: int, density: float) -> list[tuple[int, float]]:
        """The density of A, from the first step on."""
        return [(-1, self.to.density)]

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """No step: gradients outside of B are not needed."""
        return ()

    def gradient_density(self, density: float) -> float:
        """The density of B."""
        return min(1.0, self.backward * self.to.density)


class TopKast(Method):
    """Use the largest weights, let twice as many learn, and leave the others as they are.

    The published nets choose the sets within each layer. Most have twice as many weights in B as in A. The
    sets are chosen at every step or at every 100th, with the same accuracy (table 6); here at every 100th,
    which is cheaper. The recipe's weight decay comes on top of the penalty, but not outside of B. The paper
    has a decay of 1e-4 and no other.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="top-kast",
        summary="the largest weights in use, more of them learning, others waiting",
        source="Jayakumar, Pascanu, Rae, Osindero & Elsen (2020), arXiv:2106.03517, sections 2.1 to 2.3 and "
        "algorithm 1",
        when="during",
        patterns=("free",),
        distribution="uniform",
        criterion="|w|",
        equals="a plain loop of algorithm 1; no code of the authors was found. neuralmagic/sparseml 1c04a01 "
        "(read, not run) decays outside of the optimizer, and momentum moves weights outside of B",
    )
    backward: float = Field(2.0, ge=1, le=1000)
    """Number of weights that learn, as a multiple of those in use; at most all."""
    penalty: float = Field(1e-4, ge=0, le=1)
    """Coefficient of the L2 penalty."""
    every: PositiveInt = 100
    """Optimizer steps between two choices of the weights. In a short training fewer, for twenty choices."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train under the two sets."""
        yield Train(
            updater=AlwaysSparse(to=target, backward=self.backward, penalty=self.penalty, every=self.every)
        )
