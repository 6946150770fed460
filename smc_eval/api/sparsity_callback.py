"""Sparsity callback: transformers' Trainer keeps the zeros of a pruned net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from smc_eval.errors import SparsityError, UsageError, named_value
from smc_eval.sparse.net import hide


class SparsityCallback(TrainerCallback):
    """Keeps masked weights at zero, exactly, in every step of a transformers Trainer.

    Gradients of masked weights are zero before they are clipped. After each step of the optimizer the
    zeros are written again: momentum, weight decay and an optimizer with rounded states move weights
    whose gradient is zero. So each checkpoint and each evaluation sees the sparse net.

    Weights are found by name, tied ones once. Each rank holds whole weights, as under DDP.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        """`masks` are bool tensors by canonical parameter name, as in `PrunedNet.masks`; True stays.

        Raises:
            UsageError: they are something else.
        """
        given: object = masks
        if not isinstance(given, Mapping) or not all(isinstance(mask, Tensor) for mask in given.values()):
            raise UsageError(f"masks is {named_value(given)}; wanted a tensor for each name: PrunedNet.masks")
        self.masks = dict(masks)
        self._pairs: list[tuple[nn.Parameter, Tensor]] = []
        self._hooks: list[Any] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        """Find the weights, write the zeros, and mask each gradient as it arrives.

        Raises:
            SparsityError: a mask fits no weight of the model.
        """
        self.on_train_end(args, state, control)
        self._pairs = list(self._found(found["model"]))
        for weight, mask in self._pairs:
            if weight.requires_grad:
                self._hooks.append(_hooked(weight, mask))
        self._write()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        """Write the zeros after the step of the optimizer."""
        self._write()

    def on_train_end(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        """Write the zeros once more, also into the best model that was loaded; remove the hooks."""
        self._write()
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._pairs = [], []

    def _found(self, model: nn.Module) -> Any:
        """Weights with their masks on the same device."""
        weights = dict(model.named_parameters())
        plain = {_plain(name): weight for name, weight in weights.items()}
        for name, mask in self.masks.items():
            weight = weights.get(name, plain.get(_plain(name)))
            if weight is None:
                raise SparsityError(
                    f"the model has no parameter {name!r}, of which there is a mask; "
                    "give the Trainer the net that was pruned"
                )
            if mask.dtype != torch.bool or mask.shape != weight.shape:
                raise SparsityError(
                    f"the mask of {name!r} is {mask.dtype} {tuple(mask.shape)}; wanted torch.bool "
                    f"{tuple(weight.shape)}. A sharded net cannot be masked by this callback"
                )
            yield weight, mask.to(weight.device)

    @torch.no_grad()
    def _write(self) -> None:
        for weight, mask in self._pairs:
            hide(weight.detach(), mask)


def _hooked(weight: nn.Parameter, mask: Tensor) -> Any:
    """The handle of a hook that zeroes gradients of masked weights as soon as they are there."""

    def zero(parameter: Tensor) -> None:
        if parameter.grad is not None:
            hide(parameter.grad, mask)

    return weight.register_post_accumulate_grad_hook(zero)  # type: ignore[no-untyped-call]


def _plain(name: str) -> str:
    """A name without what wrappers put before it: of ranks and of compiled nets."""
    for wrapper in ("_orig_mod.", "module."):
        name = name.removeprefix(wrapper)
    return name
