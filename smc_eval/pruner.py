"""Pruners: from a net and its data to masks; a criterion only says what each weight is worth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol

from smc_eval.errors import PluginError
from smc_eval.spec import Spec
from smc_eval.target import Target

if TYPE_CHECKING:
    import torch

    from smc_eval.sparse.inputs import InputObserver
    from smc_eval.sparse.shard_group import ShardGroup
    from smc_eval.sparse.tensors import Masks, Tensors


class Probe(Protocol):
    """The narrow window through which a pruner sees net and data."""

    @property
    def weights(self) -> Tensors:
        """Weights in scope by canonical name; what is masked reads zero."""

    @property
    def masks(self) -> Tensors:
        """What survives so far, one bool tensor for every weight in scope; True stays."""

    @property
    def shards(self) -> ShardGroup:
        """Who holds the other rows of each tensor, and counts along; mostly nobody."""

    @property
    def generator(self) -> torch.Generator:
        """Chance for whatever the pruner draws, on the CPU: a function of all that came before."""

    def gradients(self, batches: int, *, dropout: bool = True) -> Masks:
        """Mean gradient of the training loss over so many batches, by name, masked weights' too."""

    def each_gradient(self, batches: int, size: int | None = None) -> Iterator[Tensors]:
        """The gradient of each of so many batches; what one held is gone when the next is asked for.

        Asked again of the same net it gives the same, dropout included, so that nobody need keep them.
        `size` is the examples of a batch; None takes the recipe's.
        """

    def products(self, vectors: Tensors, batches: int) -> Masks:
        """Hessian of the mean training loss over the batches that `gradients` saw, times the vectors;
        without dropout."""

    def inputs(self, batches: int, see: InputObserver) -> None:
        """Run so many training batches forward, those that `gradients` saw, and show what weights multiply.

        `see(name, (rows, columns), x_NI)`: the weight `name`, of `weight.flatten(1)` those rows and
        columns, multiplied N rows of inputs. Without dropout; whatever multiplies the same weight
        again is shown again. What no linear map multiplies, such as a lookup table, is never shown.
        """

    def flow(self, batches: int) -> Masks:
        """What flows through each weight of the net's linear shadow, w dR/dw, by name: zero or more.

        In the shadow weights are positive, inputs one and activations the identity; R sums its
        outputs. Of the data the form of a batch matters, no value. Batches are drawn, at most so
        many, until each weight in scope was asked for; one that never is has 0.

        Raises:
            UsageError: the task does not tell its outputs.
        """

    def mend(self, weights: Tensors) -> None:
        """Give survivors new values, by name; only a pruner that says so mends."""


class Pruner(Spec):
    """Decides masks once, from a net as it stands."""

    revives: ClassVar[bool] = False
    """Whether it may bring back what an earlier mask took."""
    needs_outputs: ClassVar[bool] = False
    """Whether it looks at the task's outputs, and so refuses a task that tells only its loss."""
    shardable: ClassVar[bool] = False
    """Whether it can decide where a net is cut by rows: from what it sees of each weight, and from what
    `probe.crowd` counts of all rows. One that looks at whole tensors, at inputs or outputs cannot."""

    @abstractmethod
    def prune(self, probe: Probe, target: Target) -> Masks:
        """A mask for every weight in scope, so that the target is met exactly; True stays.

        Under a Prune without a target it is asked for 0, and brings the masks it has.
        """


def masks(
    saliency: Tensors, target: Target, *, within: Tensors | None = None, shards: ShardGroup | None = None
) -> Masks:
    """Masks of the highest saliencies that meet the target exactly; True stays.

    Args:
        saliency: for each weight in scope a tensor of its shape, any finite numbers.
        target: sparsity or N:M pattern, and the distribution over tensors.
        within: only weights that are True here may stay: `probe.masks` or `view.masks`. None allows all.
        shards: `probe.shards` or `view.shards`, so that masks are right under `--shard`.

    Raises:
        SparsityError: the target cannot be met, or saliencies are not comparable.
    """
    from smc_eval.sparse.allocate import allocate
    from smc_eval.sparse.shard_group import UNSHARDED

    return allocate(saliency, target, within=within, shards=shards or UNSHARDED)


class Criterion(Pruner):
    """A pruner that only says what each weight is worth; how many stay where is the target's."""

    @abstractmethod
    def saliency(self, probe: Probe) -> Masks:
        """A finite number for each weight in scope, by name; higher is kept."""

    def prune(self, probe: Probe, target: Target) -> Masks:
        """Keep the highest saliencies among the unpruned weights: none that an earlier mask removed."""
        saliency = self.saliency(probe)
        self._check(saliency, probe.weights, probe.shards)
        return masks(saliency, target, within=probe.masks, shards=probe.shards)

    def _check(self, saliency: Tensors, weights: Tensors, shards: ShardGroup) -> None:
        """Refuse saliencies that would silently make a wrong mask."""
        if wrong := saliency.keys() ^ weights.keys():
            raise PluginError(
                f"{self.identity} gave saliencies of other tensors than those in scope; "
                f"missing or unasked: {', '.join(sorted(wrong)[:3])}"
            )
        for name, values in saliency.items():
            if values.shape != weights[name].shape:
                raise PluginError(
                    f"{self.identity} gave {name!r} saliencies of shape {tuple(values.shape)}, "
                    f"its weights have {tuple(weights[name].shape)}"
                )
        wild = shards.sums(not bool(values.isfinite().all()) for values in saliency.values())
        for name, found in zip(saliency, wild, strict=True):
            if found:
                raise PluginError(f"{self.identity} gave {name!r} saliencies that are not finite numbers")
