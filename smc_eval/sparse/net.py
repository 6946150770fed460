"""A Net: a model and the masks it wears. The one class that writes a zero into a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from smc_eval.errors import SparsityError
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup

PIECE = 2**19
"""Weights that are masked at once on a CPU: 2 MiB of floats."""


class Net:
    """Masks by canonical parameter name beside an untouched model; True survives.

    No module is wrapped and no name changes, so tied weights have one mask, an LSTM is as good
    as a Linear, and the pruned state dict is an ordinary checkpoint. A mask costs one byte a weight.
    """

    def __init__(self, model: nn.Module, scope: Sequence[str]) -> None:
        self.model = model
        self.scope = tuple(scope)
        self.masks: dict[str, Tensor] = {}
        """One bool tensor for every weight in scope once pruned; none before."""
        self.soft = False
        """Whether masked weights live on behind the mask, under a soft rule."""
        self.changes = 0
        """How often the masks changed."""
        self.regrown = 0
        """How many weights came back from under a mask, all changes together."""
        self.shards: ShardGroup = UNSHARDED
        """Who holds the other rows of each parameter, where a net is cut by rows."""

    @property
    def named(self) -> dict[str, nn.Parameter]:
        """All parameters by name, looked up anew: a reference kept would go stale."""
        return dict(self.model.named_parameters())

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Those of them that are in scope."""
        named = self.named
        return {name: named[name] for name in self.scope}

    @property
    def weights(self) -> dict[str, Tensor]:
        """Values of the weights in scope; what they share with the model must not be written."""
        return {name: weight.detach() for name, weight in self.parameters.items()}

    @property
    def full_masks(self) -> dict[str, Tensor]:
        """A mask for every weight in scope, all True where none is worn."""
        return {
            name: self.masks[name] if name in self.masks else torch.ones_like(weight, dtype=torch.bool)
            for name, weight in self.weights.items()
        }

    @property
    def density(self) -> float:
        """Share of the weights in scope that stays."""
        return self.remaining_count / sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def remaining_count(self) -> int:
        """How many of the weights in scope stay."""
        return sum(self.shards.count(self.full_masks.values()))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Whole shapes of the weights in scope."""
        return self.shards.shapes(self.weights)

    @property
    def sparsity(self) -> dict[str, float]:
        """Share of each tensor that its mask hides, by name; only of those that wear one."""
        counts, shapes = self.shards.count(self.masks.values()), self.shards.shapes(self.masks)
        return {
            name: 1 - count / math.prod(shape)
            for (name, shape), count in zip(shapes.items(), counts, strict=True)
        }

    def set_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put on new masks, zero what they hide, and return what grew back, by name.

        Grown weights start at zero: they were zero under the old mask. Under a soft rule they
        have their living values.

        Raises:
            SparsityError: masks of other tensors, shapes or types than those in scope.
        """
        weights = self.weights
        if wrong := sorted(masks.keys() ^ weights.keys()):
            raise SparsityError(f"masks must be of the tensors in scope; missing or unasked: {wrong[0]!r}")
        for name, mask in masks.items():
            if mask.dtype != torch.bool or mask.shape != weights[name].shape:
                raise SparsityError(
                    f"the mask of {name!r} is {mask.dtype} {tuple(mask.shape)}; "
                    f"wanted torch.bool {tuple(weights[name].shape)}"
                )
        new = self.agreed(
            {name: mask.to(weights[name].device, copy=True).contiguous() for name, mask in masks.items()}
        )
        if not self.soft:
            self.apply_masks()
        grown = {name: new[name] & ~old for name, old in self.masks.items()}
        back = sum(int(again.sum()) for again in grown.values())
        other = any(not torch.equal(new[name], old) for name, old in self.full_masks.items())
        back, others = self.shards.sums([back, other])
        self.regrown += back
        self.changes += others > 0
        self.masks = new
        if not self.soft:
            self.apply_masks()
        return grown

    def agreed(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is worn of masks that were asked for: they themselves, where nobody else has a say."""
        return masks

    @torch.no_grad()
    def apply_masks(self) -> None:
        """Write zeros under the masks: after the optimizer, a load, a pruner."""
        for weight, mask in self._masked():
            hide(weight, mask)

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Take the masked weights' gradients away, so that they have no vote in the clipping norm."""
        for weight, mask in self._masked():
            if weight.grad is not None:
                hide(weight.grad, mask)

    def forget_gradients(self) -> None:
        """Leave no parameter a gradient."""
        self.model.zero_grad(set_to_none=True)

    def all_reduce(self, mean: float) -> float:
        """Make what backward passes left the gradients of all passes of a step; of its mean loss likewise
        what was added up here becomes all of it, and is returned. Nothing to do where nobody shares them."""
        return mean

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradients of the weights in scope, zeros where a weight has none; what is masked has its own."""
        return {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad
            for name, weight in self.parameters.items()
        }

    def summed(self) -> dict[str, Tensor]:
        """The same of all passes that a pruner asked for, whoever made them."""
        return self.gradients

    def gradient_norm(self) -> Tensor:
        """The norm of all gradients together, a scalar."""
        grads = [weight.grad for weight in self.named.values() if weight.grad is not None]
        return nn.utils.get_total_norm(grads)

    @contextmanager
    def gathering(self, seen: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Within, whatever stands for a parameter in a forward pass, and is not in `named`, is shown."""
        yield

    def _masked(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        parameters = self.parameters if self.masks else {}
        for name, mask in self.masks.items():
            yield parameters[name], mask

    @contextmanager
    def masked(self) -> Iterator[None]:
        """Within, the model computes with survivors only; a soft rule's hidden values return after."""
        if not (self.soft and self.masks):
            yield
            return
        hidden = {name: weight.clone() for name, weight in self.weights.items()}
        self.apply_masks()
        try:
            yield
        finally:
            for name, weight in self.weights.items():
                weight.copy_(hidden[name])

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers by canonical name, tied ones once; they share memory with the model."""
        return {name: weight.detach() for name, weight in self.named.items()} | dict(
            self.model.named_buffers()
        )

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors from those that are cut as the parameters of the same names."""
        return dict(tensors)

    def cut(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The way back: of whole tensors what is held here."""
        return dict(tensors)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over whole parameters and buffers by name, then zero what the masks hide.

        Raises:
            SparsityError: names or shapes are not the model's.
        """
        self.take(self.cut(tensors))

    @torch.no_grad()
    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over parameters and buffers as `state` has them, then zero what the masks hide.

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
    """Multiply by the mask, in place.

    torch turns the mask into floats first. On a CPU pieces keep those in the cache: three times as
    fast as all at once; and bytes are turned twice as fast as bools.
    """
    rows = PIECE * len(values) // max(1, values.numel()) if values.device.type == "cpu" else len(values)
    parts, masks = (torch.split(each, max(1, rows)) for each in (values, mask.view(torch.uint8)))
    for part, kept in zip(parts, masks, strict=True):
        part.mul_(kept)


def state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by canonical name, tied ones once; they share memory with the model."""
    named = {name: weight.detach() for name, weight in model.named_parameters()}
    return named | dict(model.named_buffers())
