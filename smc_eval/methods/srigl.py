"""SRigL: RigL with the same number of weights in each neuron; neurons without enough are removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.rewiring import Rewiring
from smc_eval.pruner import Probe, Pruner
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.tensors import Masks


class RandomFanIn(Pruner):
    """Random masks with equally many weights in each row of a tensor; a remainder goes to the first rows."""

    reads_batches: ClassVar[bool] = False

    def prune(self, probe: Probe, target: Target) -> Masks:
        """Masks with the budgets of the tensors."""
        from smc_eval.sparse.allocate import budgets
        from smc_eval.sparse.pattern import rowwise

        within = probe.masks
        counts = budgets({name: tuple(mask.shape) for name, mask in within.items()}, target, within)
        return {
            name: rowwise(probe.shards.drawn(mask, probe.generator), counts[name], mask)
            for name, mask in within.items()
        }


class ConstantFanIn(Rewiring):
    """At some steps, each tensor prunes a share of its weights, and each neuron grows until it has its share.

    Lasby et al. (2024). Weights are pruned by magnitude over the whole tensor and grown by gradient in each
    neuron. A weight is salient if it is among those that stay by magnitude, or among equally many as are
    pruned with the largest gradients. A neuron with fewer salient weights than `salient` times the fan-in
    is ablated: it loses its weights, and the other neurons get as many more. It returns when its weights
    are salient at a later change. The neurons of the last tensor are never ablated.
    """

    title: ClassVar[str] = "drop-and-grow mask updates of constant fan-in"

    salient: float = Field(0.3, ge=0, le=1)
    """Share of the fan-in that must be salient in a neuron; with fewer it is ablated. 0 ablates none."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """At a change, new masks with the same number of weights in each tensor; the optimizer skips it."""
        share = self.due(view.step, view.steps)
        if share is not None:
            from smc_eval.sparse.fan_in import exchanged

            weights, grads, masks = view.weights, view.grads, view.masks
            last = [*masks][-1]
            view.set_masks(
                {
                    name: mask
                    if bool(mask.all()) or not bool(mask.any())
                    else exchanged(
                        weights[name],
                        grads[name],
                        mask,
                        share,
                        view.generator,
                        salient_share=0.0 if name == last else self.salient,
                    )
                    for name, mask in masks.items()
                }
            )
            view.skip()
        return state

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """The steps of its changes."""
        return self.changes(steps)


class StructuredRigL(Method):
    """Start from a random net in which all neurons of a tensor have equally many weights; keep it so.

    During training, prune small weights, grow those with large gradients, and remove neurons that have few
    salient weights. A neuron is a row of a tensor. Where the weights of a tensor cannot be divided by its
    neurons, the first ones have one more; the published code drops the remainder, and so misses the
    sparsity. The certificate says that the fan-in is constant.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="srigl",
        summary="RigL with constant fan-in and ablation of neurons, from a random net",
        source="Lasby et al. (2024), arXiv:2305.02299",
        when="during",
        patterns=("free",),
        distribution="erk",
        distributions=("uniform", "rows", "erk"),
        constant_fan_in=True,
        criterion="prune small |w| of a tensor; grow large |g| in each row",
        equals="calgaryml/condensed-sparsity 3052bb8: it ablates the same neurons in all of 400 random "
        "tensors, and 0 of 98,560 mask bits differ in the 128 whose weights can be divided by their neurons "
        "and where no neuron keeps more than its fan-in. Else it loses the remainder (268 of 400 tensors), "
        "and which weights such a neuron keeps is arbitrary; here the largest stay",
    )
    salient: float = Field(0.3, ge=0, le=1)
    """Share of the fan-in that must be salient in a neuron, or it is ablated; gamma_sal in the paper. 0
    ablates no neuron. The authors take 0.95 for vision transformers."""
    share: float = Field(0.3, gt=0, le=1)
    """Share of a tensor's weights that the first change prunes."""
    end: float = Field(0.0, ge=0, le=1)
    """Share at `stop`; between them the share falls by a cosine."""
    stop: float = Field(0.75, gt=0, le=1)
    """Share of training after which the masks stay."""
    every: int = Field(100, ge=2)
    """Optimizer steps between two changes. In a short training fewer, so that there are six changes."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune at random, train under the updater."""
        yield Prune(by=RandomFanIn(), to=target)
        yield Train(
            updater=ConstantFanIn(
                salient=self.salient, share=self.share, end=self.end, stop=self.stop, every=self.every
            )
        )
