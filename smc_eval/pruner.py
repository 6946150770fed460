"""Pruners make masks from a net and its data; a criterion only scores the weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol

from smc_eval.errors import PluginError
from smc_eval.sparse.net_view import NetView
from smc_eval.spec import Spec
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.inputs import InputObserver
    from smc_eval.sparse.shard_group import ShardGroup
    from smc_eval.sparse.tensors import Masks, Tensors
    from smc_eval.sparse.unit_layers import Units


class WalkSection(Protocol):
    """Weights of a net that are pruned together: a block, or those between two blocks. See `Probe.walk`."""

    @property
    def name(self) -> str:
        """The name of the block's module, or of the first weight."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its weights in scope."""

    def inputs(self, see: InputObserver) -> None:
        """Pass the inputs of these weights alone to `see`, as `Probe.inputs` does.

        They are those of the net in which all sections before have been settled, over the same examples.
        It can be called several times.
        """

    def settle(self, masks: Tensors, weights: Tensors | None = None) -> Masks:
        """Set the masks of all its weights, and new values of some. The sections after see the outputs.

        It returns these masks as the net has them now. `Pruner.prune` must return the same; those of the net
        take no memory of their own. Do not write to them.

        Raises:
            SparsityError: a name or a shape is wrong.
            PluginError: it is not the section at which the walk stands, or it was settled before.
        """


class Probe(NetView, Protocol):
    """A pruner's view of the net and of its training data.

    `weights`, `masks`, `shards` and `generator` are those of `NetView`. Batches are drawn from the
    training data at random; all functions of one probe use the same batches. Every pass over a batch is
    counted in the cost of the method.
    """

    def gradients(
        self, batches: int, *, dropout: bool = True, temperature: float = 1.0, per_class: int | None = None
    ) -> dict[str, Tensor]:
        """Mean gradient of the training loss over some batches. Pruned weights have gradients too.

        Without dropout, one pass over the training examples is the most: a second one would add nothing. All
        examples count alike in it, also those of a smaller last batch.

        A `temperature` divides the log-probabilities of the task, which are then normalized again; other
        temperatures than 1 are only for pruners with `needs_outputs`. With `per_class`, the batches have so
        many examples of each class instead, where the task has classes.
        """

    def each_gradient(
        self, batches: int, size: int | None = None, *, dropout: bool = True
    ) -> Iterator[Tensors]:
        """The gradient of each of some batches, one after the other.

        A gradient is valid until the next one is requested. A second call on the same net gives the same
        gradients, dropout included, so none needs to be stored. `size` is the number of examples in a
        batch; None takes that of the recipe.
        """

    def products(
        self, vectors: Tensors, batches: int, *, temperature: float = 1.0, per_class: int | None = None
    ) -> dict[str, Tensor]:
        """Hessian of the mean training loss times the vectors, over the batches of `gradients`, without
        dropout."""

    def inputs(self, batches: int, see: InputObserver) -> None:
        """Pass the inputs of each weight to `see`, in forward passes over the examples of `gradients`, and
        over them again where more batches are asked for.

        Without dropout. `see(name, (rows, columns), x_NI)`: these rows and columns of `weight.flatten(1)`
        multiplied the N rows of `x_NI`. A weight that is used several times is passed as often. A weight
        that no linear map uses, such as a lookup table, is never passed. Inputs of a convolution are
        unfolded. If `see` is a `TransposedObserver`, `see.transposed(name, (rows, columns), x_NI)` gets the
        inputs of weights whose rows are inputs, as in `x @ weight`; if it is a `StackedObserver`,
        `see.stacked` gets those of single matrices of a stack, such as experts.

        Padding is no input: only examples without padding share a pass, and nets of transformers read the
        rows of each length apart; see `smc_eval.capabilities.HasPadding`. The record gives the share of the
        weights of which no input was passed. Above a half, the cell fails.
        """

    def walk(self, batches: int) -> Iterator[WalkSection]:
        """The net in sections, in the order in which they run; each weight in scope is in one.

        Sections are the blocks of `smc_eval.sparse.blocks`, and the weights before, between and after them. A
        net without blocks is one section. A section is valid until the next one is requested. A section that
        is not settled stays as it is. What a section observes is what passes through the whole net would show
        at its weights, over the examples of `inputs`.
        """

    def flow(self, batches: int) -> dict[str, Tensor]:
        """Synaptic flow of each weight, |w dR/dw|, in the linearized net.

        There weights are positive, inputs are one and activations are the identity; R is the sum of the
        outputs. Only the shapes of a batch matter. Batches are drawn, at most this many, until each weight
        in scope was used; the flow of an unused weight is 0. Only for pruners with `needs_outputs`.
        """

    def note(self, text: str) -> None:
        """Tell the reader something about these masks, in one line. It stands in the record and below the
        table."""

    def mend(self, weights: Tensors) -> None:
        """Give unpruned weights new values. The masks are applied again afterwards.

        Raises:
            SparsityError: a name or a shape is wrong.
        """

    def hidden_inputs(self) -> tuple[str, ...]:
        """Names of the weights whose inputs are hidden units: another order of them changes nothing.

        The inputs of such a weight are made one by one by the map before it, as in the feed-forward pair of
        a transformer. It is tried on some examples, with one or two forward passes for each weight. Empty
        where the net has masks already.
        """

    def reorder_hidden(self, orders: Tensors) -> None:
        """Give hidden units a new order: `weights[name]` becomes `weights[name][:, orders[name]]`.

        The rows of the map that makes them, and its bias, get the same order, so the net computes the same.

        Raises:
            SparsityError: a name that `hidden_inputs` did not give, or an order that has not each input once.
        """


class Pruner(Spec):
    """Makes masks once, from the net as it is: `Prune(by=..., to=target)`.

    A pruner decides the masks itself, usually with `masks(saliency, target)`. If one number for each weight
    is enough, write a `Criterion`.
    """

    revives: ClassVar[bool] = False
    """Whether it may unprune weights that an earlier mask pruned."""
    needs_outputs: ClassVar[bool] = False
    """Whether it needs the outputs of the task, as `probe.flow` does. Tasks without `loss_and_outputs` are
    then refused."""
    shardable: ClassVar[bool] = False
    """Whether it works when tensors are sharded by rows (`--shard`): it then uses each weight on its own,
    and counts over all rows with `probe.shards`. It must not use whole tensors, inputs or outputs."""

    reads_batches: ClassVar[bool] = True
    """Whether it reads training data through the probe. If not, its masks depend on no batch of the recipe,
    and the probe refuses it one."""

    @abstractmethod
    def prune(self, probe: Probe, target: Target) -> Masks:
        """One mask for each weight in scope; True means unpruned. Together they meet the target exactly.

        `Prune(by=..., to=None)` passes a target of sparsity 0; the pruner then decides the sparsity.
        """


def masks(
    saliency: Tensors,
    target: Target,
    *,
    within: Tensors | None = None,
    shards: ShardGroup | None = None,
    units: Units = (),
    weights: Tensors | None = None,
) -> Masks:
    """Masks that keep the highest saliencies and meet the target exactly; True means unpruned.

    It works for every distribution and pattern. Use it in a `Pruner` or an `Updater`. Under `heads` and
    `neurons` the units of the highest mean saliency stay.

    Args:
        saliency: a tensor of the same shape for each weight in scope; finite numbers.
        target: sparsity or N:M pattern, and the distribution over tensors.
        within: only weights that are True here can stay: `probe.masks` or `view.masks`. None allows all.
        shards: `probe.shards` or `view.shards`, so that the masks are correct under `--shard`.
        units: `probe.units` or `view.units`, so that whole heads or neurons can be pruned.
        weights: `probe.weights` or `view.weights`, which the distribution `alpha` needs.

    Raises:
        SparsityError: the target cannot be met, or saliencies are not comparable.
    """
    from smc_eval.sparse.allocate import allocate
    from smc_eval.sparse.shard_group import UNSHARDED

    return allocate(saliency, target, within=within, shards=shards or UNSHARDED, units=units, weights=weights)


class Criterion(Pruner):
    """A pruner that only scores weights. The target decides how many stay in each tensor.

    Pruned weights stay pruned. Magnitude pruning is:

        class Magnitude(Criterion):
            def saliency(self, probe):
                return {name: weight.abs() for name, weight in probe.weights.items()}
    """

    @abstractmethod
    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """The saliency of each weight in scope: tensors of finite numbers. The highest stay."""

    def prune(self, probe: Probe, target: Target) -> Masks:
        """Masks of the highest saliencies. Pruned weights stay pruned.

        Raises:
            PluginError: a saliency is missing, of another shape or not finite.
        """
        saliency = self.saliency(probe)
        self._check(saliency, probe.weights, probe.shards)
        weights, units = probe.weights, probe.units if target.is_structured else ()
        return masks(saliency, target, within=probe.masks, shards=probe.shards, units=units, weights=weights)

    def _check(self, saliency: Tensors, weights: Tensors, shards: ShardGroup) -> None:
        """Refuse saliencies that would make a wrong mask without an error."""
        from smc_eval.sparse.given_tensors import is_finite, wrong_tensors

        if found := wrong_tensors(saliency):
            raise PluginError(f"{self.identity} gave {found} as saliencies; wanted real numbers")
        if wrong := saliency.keys() ^ weights.keys():
            raise PluginError(
                f"{self.identity} gave saliencies of other tensors than those in scope; "
                f"missing or unexpected: {', '.join(sorted(wrong)[:3])}"
            )
        for name, values in saliency.items():
            if values.shape != weights[name].shape:
                raise PluginError(
                    f"{self.identity} gave {name!r} saliencies of shape {tuple(values.shape)}, "
                    f"its weights have {tuple(weights[name].shape)}"
                )
        infinite = shards.sums(not is_finite(values) for values in saliency.values())
        for name, count in zip(saliency, infinite, strict=True):
            if count:
                raise PluginError(f"{self.identity} gave {name!r} saliencies that are not finite numbers")
