"""Updaters: they change masks while the net trains."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from smc_eval.sparse.net_view import NetView
from smc_eval.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.tensors import Tensors

    UpdaterState = dict[str, Tensor]


class StepView(NetView, Protocol):
    """An updater's view of one optimizer step: after the backward pass, before the weights change.

    `weights`, `masks`, `shards` and `generator` are those of `NetView`.
    """

    @property
    def step(self) -> int:
        """Index of the optimizer step in this stage, from 0. Accumulated batches make one step."""

    @property
    def steps(self) -> int:
        """Number of optimizer steps in this stage."""

    @property
    def progress(self) -> float:
        """Finished share of the stage, in [0, 1): `step / steps`."""

    @property
    def grads(self) -> Tensors:
        """Dense gradients of this step: pruned weights have gradients too.

        Reading them costs the FLOPs of a dense backward pass; see `Updater.dense_gradient_steps`.
        """

    def gradients_within(self, masks: Tensors) -> dict[str, Tensor]:
        """Gradients of this step for some weights in scope, zero where a mask is False. They are copies.

        Reading them costs the FLOPs of the gradients of these weights and of the unpruned ones; see
        `Updater.gradient_density`. Reading `grads` costs those of all weights.

        Raises:
            SparsityError: the name, shape or type of a mask is wrong.
        """

    def set_gradients(self, gradients: Tensors) -> None:
        """Replace the gradients of some weights in scope: the optimizer sees these at this step.

        They replace gradients that are added up over all batches, ranks and shards, and that are not scaled:
        with shards, give those of your own rows; all ranks must give the same. The mask of the forward pass
        does not mask them, under a soft updater. Under any other, masked weights do not learn. Clipping comes
        afterwards, so they count in its norm. Weight decay and momentum are the optimizer's, as always.
        A second call replaces those of the same names.

        Raises:
            SparsityError: the name, shape or type of a gradient is wrong, or a value is not finite.
        """

    def hold(self, masks: Tensors) -> None:
        """Let weights keep their values at this step where a mask is False, for some weights in scope.

        Neither gradients nor momentum nor weight decay change them. Their optimizer state goes on.

        Raises:
            SparsityError: the name, shape or type of a mask is wrong.
        """

    def skip(self) -> None:
        """Skip the optimizer step: no weight changes at this step."""

    def reset_momentum(self) -> None:
        """Set the optimizer's running means of gradients to zero, for all parameters.

        That is the momentum of SGD and the first moment of Adam. The second moment of Adam stays.
        """

    def set_masks(self, masks: Tensors) -> None:
        """Set new masks, one for each weight in scope. The next forward pass is the first that uses them.

        Weights that grow back start at zero, and their optimizer state is cleared. Under a soft updater
        they keep the values that they had under the mask.

        Raises:
            SparsityError: a mask is missing, or its name, shape or type is wrong.
        """


class Updater(Spec):
    """Changes masks during training, once for each optimizer step: `Train(updater=...)`.

    An updater stores nothing in itself. It returns its state, and gets it back at the next step:

        class HalfAtHalfTime(Updater):
            to: Target

            def init(self, weights, masks):
                return {}

            def update(self, view, state):
                if view.step == view.steps // 2:
                    saliency = {name: weight.abs() for name, weight in view.weights.items()}
                    view.set_masks(masks(saliency, self.to, within=view.masks, shards=view.shards))
                return state
    """

    title: ClassVar[str] = ""
    """What plans print after `train … with`. Empty: the words of the class's name."""
    soft: ClassVar[bool] = False
    """Whether pruned weights keep their values behind the mask, and can return with them."""
    straight_through: ClassVar[bool] = True
    """For a soft updater: whether pruned weights are trained too, by the straight-through gradient. If not,
    the net trains on the product of masks and weights, and pruned weights keep their values."""
    shardable: ClassVar[bool] = False
    """Whether it works when tensors are sharded by rows (`--shard`): it then uses each weight on its own,
    and counts over all rows with `view.shards`. Its state is sharded like the weights of the same names."""

    @abstractmethod
    def init(self, weights: Tensors, masks: Tensors) -> UpdaterState:
        """The state before the first step: tensors by name. Checkpoints save them."""

    @abstractmethod
    def update(self, view: StepView, state: UpdaterState) -> UpdaterState:
        """The next state, after the backward pass of a step. `view.set_masks(...)` changes the masks.

        The optimizer steps afterwards, so these masks fit the weights before its step; see `remask`.
        """

    def remask(self, view: StepView, state: UpdaterState) -> UpdaterState:
        """The next state, between two steps: before the first, and after each step of the optimizer.

        For masks that must fit the weights of the forward pass that uses them. `view.step` is the number of
        finished steps, `view.steps` at the end of the stage. There are no gradients here: of the view's
        functions only `set_masks` and `reset_momentum` may be called. The default changes nothing.
        """
        return state

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        """Changes of the density: pairs of a step and the density after it, by rising step.

        It describes a training of `steps` steps, counted from 0, that starts with the given density.
        Density is the share of unpruned weights in scope. None means unknown: the FLOPs of the
        training cannot be computed in advance then. Step -1 stands for masks that `remask` sets before the
        first step.
        """
        return None

    def gradient_density(self, density: float) -> float:
        """Share of the weights in scope whose gradients a step computes, at this density of its forward pass.

        For `view.gradients_within`, at steps that `dense_gradient_steps` omits. Default: that of the unpruned
        weights.
        """
        return density

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """Steps of a training of `steps` steps at which it reads `view.grads`, rising. Default: all.

        At these steps the backward pass costs as much as that of a dense net.
        """
        return range(steps)
