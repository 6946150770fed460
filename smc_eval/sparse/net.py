"""A Net: a model and its masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from smc_eval.errors import SparsityError
from smc_eval.sparse.counts import count_true, equal_masks
from smc_eval.sparse.given_tensors import wrong_tensors
from smc_eval.sparse.named_parameters import NamedParameters
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup
from smc_eval.sparse.unit_layers import Units
from smc_eval.sparse.units import unit_share

PIECE = 2**19
"""Weights that are masked at once on a CPU: 2 MiB of floats."""

WHOLE_NUMBERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""The whole numbers that have the bits of a float, by its bytes."""


class Net:
    """A model and one bool mask for each weight in scope, by canonical parameter name; True stays.

    Guarantee: after `set_masks`, `load`, `load_shards` and `apply_masks` every masked weight is zero;
    under a soft updater only inside `masked()`. All these zeros are written through `hide`. An optimizer
    step may change masked weights: the training calls `apply_masks` after it.

    No module is wrapped and no name changes, so tied weights have one mask, recurrent layers are masked
    like any other, and the pruned state dict is an ordinary checkpoint. A mask costs one byte a weight.
    """

    def __init__(self, model: nn.Module, scope: Sequence[str]) -> None:
        self.model = model
        self._named = NamedParameters(model)
        self.scope = tuple(scope)
        self.masks: dict[str, Tensor] = {}
        """One bool tensor for every weight in scope after pruning; empty before."""
        self.soft = False
        """Whether masked weights keep their values, under a soft updater."""
        self.changes = 0
        """How often the masks changed."""
        self.regrown = 0
        """How many weights were masked and are unmasked again, all changes together."""
        self.shards: ShardGroup = UNSHARDED
        """The holders of the other rows of each parameter, where the net is sharded by rows."""
        self.units: Units = ()
        """The heads or neurons, where these are pruned whole."""
        self._room: dict[str, Tensor] = {}
        """Memory for the values of some weights, kept from step to step: new memory takes longer to get."""
        self._put_aside: dict[str, int] = {}
        """Weights whose values are in that memory, and how often each had been written to by then."""

    @property
    def all_parameters(self) -> dict[str, nn.Parameter]:
        """All parameters by name, as the modules have them now."""
        return self._named.current()

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters in scope."""
        parameters = self.all_parameters
        return {name: parameters[name] for name in self.scope}

    @property
    def weights(self) -> dict[str, Tensor]:
        """Values of the weights in scope. They share memory with the model: do not write to them."""
        return {name: weight.detach() for name, weight in self.parameters.items()}

    @property
    def full_masks(self) -> dict[str, Tensor]:
        """A mask for every weight in scope, all True where none is set."""
        return {
            name: self.masks[name] if name in self.masks else torch.ones_like(weight, dtype=torch.bool)
            for name, weight in self.weights.items()
        }

    @property
    def density(self) -> float:
        """Share of the weights in scope that are unpruned; where units are pruned whole, of the units."""
        if self.units:
            return unit_share(self.units, self.full_masks)
        return self.remaining_count / sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def remaining_count(self) -> int:
        """How many of the weights in scope are unpruned."""
        return sum(self.shards.count(self.full_masks.values()))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Whole shapes of the weights in scope."""
        return self.shards.shapes(self.weights)

    @property
    def sparsity(self) -> dict[str, float]:
        """Share of each tensor that its mask prunes, by name; only of tensors that have a mask."""
        counts, shapes = self.shards.count(self.masks.values()), self.shards.shapes(self.masks)
        return {
            name: 1 - count / math.prod(shape)
            for (name, shape), count in zip(shapes.items(), counts, strict=True)
        }

    def set_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Set new masks, zero the masked weights, and return masks of the regrown weights, by name.

        Regrown weights start at zero: they were zero under the old mask. Under a soft updater they
        keep their hidden values.

        Raises:
            SparsityError: masks of other tensors, shapes or types than those in scope.
        """
        return self._replace_masks(masks, self.scope)

    def set_some_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`set_masks` for some of the weights in scope; the others keep their masks."""
        return self._replace_masks(masks, [name for name in self.scope if name in masks])

    def _replace_masks(self, masks: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """Set new masks of these weights."""
        weights = self.weights
        if found := wrong_tensors(masks):
            raise SparsityError(f"the masks are {found}; wanted torch.bool for each tensor in scope")
        if wrong := sorted(masks.keys() ^ {*names}):
            raise SparsityError(f"masks must be of the tensors in scope; missing or unknown: {wrong[0]!r}")
        for name, mask in masks.items():
            if mask.dtype != torch.bool or mask.shape != weights[name].shape:
                raise SparsityError(
                    f"the mask of {name!r} is {mask.dtype} {tuple(mask.shape)}; "
                    f"wanted torch.bool {tuple(weights[name].shape)}"
                )
        new = self.synchronized(
            {name: mask.to(weights[name].device, copy=True).contiguous() for name, mask in masks.items()}
        )
        before = self.masks or self.full_masks
        if not self.soft:
            self.apply_masks(names)
        grown = {name: new[name] & ~old for name, old in self.masks.items() if name in new}
        regrown = sum(map(count_true, grown.values()))
        changed = any(not equal_masks(mask, before[name]) for name, mask in new.items())
        regrown, changes = self.shards.sums([regrown, changed])
        self.regrown += regrown
        self.changes += changes > 0
        self.masks = before | new
        if not self.soft:
            self.apply_masks(names)
        return grown

    def synchronized(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """The masks that all ranks set, given those of this rank; here the same masks."""
        return masks

    @torch.no_grad()
    def apply_masks(self, names: Collection[str] | None = None) -> None:
        """Write zeros into the masked weights, by default of all tensors.

        Call it after an optimizer step, a load or a pruner.
        """
        masks = (
            self.masks if names is None else {name: self.masks[name] for name in names if name in self.masks}
        )
        for weight, mask in self._masked(masks):
            hide(weight, mask)

    @torch.no_grad()
    def mask_gradients(self, masks: Mapping[str, Tensor] | None = None) -> None:
        """Zero the gradients of weights under some masks, by default the present ones.

        These weights then do not count in the clipping norm.
        """
        for weight, mask in self._masked(self.masks if masks is None else masks):
            if weight.grad is not None:
                hide(weight.grad, mask)

    def forget_gradients(self) -> None:
        """Set the gradients of all parameters to None."""
        for weight in self.all_parameters.values():
            weight.grad = None

    def all_reduce(self, mean: float) -> float:
        """Add up the gradients and the mean loss of a step over all ranks, and return the loss.

        `mean` is this rank's part of the loss. Without ranks nothing changes.
        """
        return mean

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradients of the weights in scope, masked weights included; zeros where a weight has none."""
        return {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad
            for name, weight in self.parameters.items()
        }

    def reduced_gradients(self) -> dict[str, Tensor]:
        """`gradients`, added up over the passes of all ranks."""
        return self.gradients

    def gradient_norm(self) -> Tensor:
        """The norm of all gradients together, a scalar."""
        return self.norm(weight.grad for weight in self.all_parameters.values() if weight.grad is not None)

    def norm(self, tensors: Iterable[Tensor]) -> Tensor:
        """The norm of tensors together, over all rows where the net is sharded; a scalar."""
        return nn.utils.get_total_norm(list(tensors))

    @contextmanager
    def gathering(self, callback: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Within, `callback` gets each tensor that replaces a parameter in a forward pass, and its name."""
        yield

    def _masked(self, masks: Mapping[str, Tensor]) -> Iterator[tuple[nn.Parameter, Tensor]]:
        parameters = self.parameters if masks else {}
        for name, mask in masks.items():
            yield parameters[name], mask

    @contextmanager
    def masked(self) -> Iterator[None]:
        """Within, masked weights are zero. Under a soft updater their values return afterwards."""
        if not (self.soft and self.masks):
            yield
            return
        hidden = self._room_for(self.masks)
        for name, weight in self.weights.items():
            if name in hidden:
                for part, kept, mask in _parts(weight, hidden[name], self.masks[name]):
                    kept.copy_(part)
                    part.mul_(mask)  # as in `hide`
        self._put_aside = {}
        try:
            yield
        finally:
            for name, weight in self.weights.items():
                if name in hidden:
                    weight.copy_(hidden[name])
                    self._put_aside[name] = weight._version  # noqa: SLF001 - counts writes

    @contextmanager
    def moved(self, by: Mapping[str, Tensor]) -> Iterator[None]:
        """Within, these amounts are added to the weights, and masked weights are zero.

        Afterwards weights and buffers have their old values, bit for bit.
        """
        parameters, changes = self.all_parameters, dict(by)
        weights = {name: parameters[name].detach() for name in {**changes, **self.masks}}
        before = {name: weight.clone() for name, weight in weights.items()}
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        for name, change in changes.items():
            weights[name].add_(change)
        self.apply_masks()
        try:
            yield
        finally:
            for name, weight in weights.items():
                weight.copy_(before[name])
            for name, buffer in self.model.named_buffers():
                if name in buffers and buffers[name].shape == buffer.shape:
                    buffer.copy_(buffers[name])

    @contextmanager
    def holding(self, masks: Mapping[str, Tensor]) -> Iterator[None]:
        """Within, all weights may change. Afterwards those where a mask is False have their old values."""
        parameters = self.parameters if masks else {}
        before = self._room_for(masks)
        for name, value in before.items():
            weight = parameters[name].detach()
            if self._put_aside.get(name) != weight._version:  # noqa: SLF001 - else the room has its values
                value.copy_(weight)
        self._put_aside = {}
        yield
        for name, mask in masks.items():
            for part, old, may_change in _parts(parameters[name].detach(), before[name], mask):
                part.mul_(may_change)  # as in `hide`
                part.add_(old.mul_(may_change ^ 1))  # one of the two has no bit set

    def _room_for(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors like the weights of these names, with any values; the same at each call."""
        weights = self.parameters
        for name in names:
            weight, room = weights[name].detach(), self._room.get(name)
            if room is None or (room.shape, room.stride(), room.dtype, room.device) != (
                weight.shape, weight.stride(), weight.dtype, weight.device
            ):  # fmt: skip
                self._room[name] = torch.empty_like(weight)
                self._put_aside.pop(name, None)
        return {name: self._room[name] for name in names}

    def give_room_back(self) -> None:
        """Free the memory that is kept for soft updaters."""
        self._room, self._put_aside = {}, {}

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers by canonical name, tied ones once; they share memory with the model."""
        return {name: weight.detach() for name, weight in self.all_parameters.items()} | dict(
            self.model.named_buffers()
        )

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors, from tensors that are sharded like the parameters of the same names."""
        return dict(tensors)

    def sharded(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `gathered`: this rank's shards of whole tensors."""
        return dict(tensors)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load whole parameters and buffers by name, then zero the masked weights.

        Raises:
            SparsityError: names or shapes are not the model's.
        """
        self.load_shards(self.sharded(tensors))

    @torch.no_grad()
    def load_shards(self, tensors: Mapping[str, Tensor]) -> None:
        """Load parameters and buffers in the form of `state`, then zero the masked weights.

        Raises:
            SparsityError: names or shapes are not the model's.
        """
        own = self.state
        if wrong := sorted(own.keys() ^ tensors.keys()):
            raise SparsityError(f"the stored net and the model differ in {wrong[0]!r}")
        for name, value in own.items():
            if value.shape != tensors[name].shape:
                raise SparsityError(
                    f"{name!r} is {tuple(tensors[name].shape)} in the stored net, {tuple(value.shape)} here"
                )
            value.copy_(tensors[name])
        self.apply_masks()


def hide(values: Tensor, mask: Tensor) -> None:
    """Write +0.0 where the mask is False, in place, whatever was there: also over an inf or a NaN.

    The bits are multiplied, as whole numbers, by 1 or 0. A product of floats would leave -0.0 for each
    negative value, which no file compresses well, and keep inf and NaN as NaN. `masked_fill_` is ten times
    slower on a CPU. torch converts the mask to the type of the bits first. On a CPU, pieces keep the
    converted mask in the cache: three times as fast as all at once. Bytes are converted twice as fast as
    bools.
    """
    bits, mask_bytes = values.view(WHOLE_NUMBERS[values.element_size()]), mask.view(torch.uint8)
    if values.numel() <= PIECE or values.device.type != "cpu":
        bits.mul_(mask_bytes)  # cutting a small tensor takes longer than to mask it
        return
    rows = max(1, PIECE * len(values) // values.numel())
    for part, part_mask in zip(torch.split(bits, rows), torch.split(mask_bytes, rows), strict=True):
        part.mul_(part_mask)


def hidden(values: Tensor, mask: Tensor) -> Tensor:
    """A copy of values, with +0.0 where the mask is False; see `hide`."""
    copy = torch.empty_like(values)
    for part, part_copy, part_mask in _parts(values, copy, mask):
        torch.mul(part, part_mask, out=part_copy)
    return copy


def _parts(values: Tensor, others: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The same rows of values, of other values and of a mask, all as whole numbers.

    On a CPU they are few enough for its caches, so that several operations read the memory once.
    """
    bits = WHOLE_NUMBERS[values.element_size()]
    whole = values.view(bits), others.view(bits), mask.view(torch.uint8)
    if values.numel() <= PIECE // 4 or values.device.type != "cpu":
        yield whole
        return
    rows = max(1, PIECE // 4 * len(values) // values.numel())
    yield from zip(*(torch.split(each, rows) for each in whole), strict=True)


def state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by canonical name, tied ones once; they share memory with the model."""
    named = {name: weight.detach() for name, weight in model.named_parameters()}
    return named | dict(model.named_buffers())
