"""A served map: the forward pass of one linear module, sparse where it pays, else torch's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.sparse.kernels.choice import (
    ALL_DENSE,
    FEWEST_OPERATIONS,
    FEWEST_WEIGHTS,
    Choice,
    Choose,
    KernelQuestion,
)
from smc_eval.sparse.kernels.layout import MaskLayout
from smc_eval.sparse.kernels.linear import KeptInput, applied
from smc_eval.sparse.operations import Counting, unseen

TURNED = ("transformers.pytorch_utils", "Conv1D")
"""Module and name of transformers' linear map whose weight is [I, O], which may not be imported here."""

MOST_DENSITY = 0.4
"""No kernel pays for maps of a higher density."""


def is_turned(module: nn.Module) -> bool | None:
    """Whether the weight of a linear module is stored as [I, O]; None if it is no such module.

    Only the classes themselves: a subclass may compute something else.
    """
    if type(module) is nn.Linear:
        return False
    return True if (type(module).__module__, type(module).__qualname__) == TURNED else None


class StandIn(ABC):
    """Stands for the `forward` of a module while a switch is on."""

    def __init__(self, name: str, module: nn.Linear) -> None:
        """`name` is that of the weight; `module` may be a `Conv1D`."""
        self.name, self.module = name, module
        self.weight: Tensor = module.weight
        self.ran = False
        """Whether a product was sparse."""
        self.counting: Counting | None = None
        """What counts the present pass, without gradients."""

    @abstractmethod
    def __call__(self, input: Tensor) -> Tensor:  # noqa: A002  torch's modules name it so
        """The outputs [..., O] of inputs [..., I]."""

    @abstractmethod
    def forget(self) -> None:
        """Free what was kept of the present weights; called after the passes of one prediction."""

    def dense(self, input: Tensor) -> Tensor:  # noqa: A002
        """The outputs of torch's own product."""
        return type(self.module).forward(self.module, input)

    def __deepcopy__(self, copies: dict[int, Any]) -> Callable[[Tensor], Tensor]:
        """A copy of the net, made while the switch is on, is not served: it has other weights and masks."""
        return MethodType(type(self.module).forward, copies[id(self.module)])


class ServedMap(StandIn):
    """A map on a CPU, in training and in prediction."""

    def __init__(
        self,
        name: str,
        module: nn.Linear,
        layout: MaskLayout,
        kernels: tuple[str, ...],
        choose: Choose,
        shared: KeptInput,
    ) -> None:
        """`choose` names the fastest kernels."""
        super().__init__(name, module)
        self.layout = layout
        self._kernels, self._choose, self._shared = kernels, choose, shared
        self._choices: dict[int, Choice] = {}

    def __call__(self, input: Tensor) -> Tensor:  # noqa: A002
        """The outputs [..., O] of inputs [..., I]."""
        weight: Tensor = self.module.weight
        if weight is not self.weight or not self._is_plain(input, weight):
            return self.dense(input)
        with unseen() if self.counting else nullcontext():
            outputs = self._sparse(input, weight)
        if outputs is None:
            return self.dense(input)
        if self.counting:
            self.counting.add_linear(weight, input.numel() // self.layout.inputs)
        return outputs

    def _sparse(self, input: Tensor, weight: Tensor) -> Tensor | None:  # noqa: A002
        """The outputs, unless dense products are faster."""
        bias: Tensor | None = self.module.bias
        read = (input, weight, *([] if bias is None else [bias]))
        learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in read)
        choice = self._chosen(input.numel() // self.layout.inputs, weight.dtype)
        kernel = choice.training if learns else choice.predicting
        if kernel == "dense":
            return None
        self.ran = True
        return applied(input, weight, bias, self.layout, kernel, self._shared if learns else None)

    def forget(self) -> None:
        """Nothing: weights are read at each pass."""

    def _is_plain(self, input: Tensor, weight: Tensor) -> bool:  # noqa: A002
        """Whether neither the tensors nor torch's present mode ask for anything but an ordinary product."""
        return (
            type(input) in {Tensor, nn.Parameter}
            and input.dtype == weight.dtype == torch.float32
            and input.device.type == weight.device.type == "cpu"
            and input.shape[-1:] == (self.layout.inputs,)
            and not torch.is_autocast_enabled("cpu")
            and not torch._C._are_functorch_transforms_active()  # noqa: SLF001  torch has no public test
        )

    def _chosen(self, rows: int, dtype: torch.dtype) -> Choice:
        """The kernels for so many rows: the same for all between two powers of two."""
        power = rows.bit_length()
        choice = self._choices.get(power)
        if choice is None:
            choice = ALL_DENSE
            if rows and 2 * rows * self.layout.mask.numel() >= FEWEST_OPERATIONS:
                choice = self._choose(KernelQuestion.of(self.layout, rows, self._kernels, dtype))
            self._choices[power] = choice
        return choice


def may_pay(mask: Tensor) -> bool:
    """Whether a map with this mask is large and sparse enough for any kernel to pay."""
    return mask.numel() >= FEWEST_WEIGHTS and int(mask.sum()) <= MOST_DENSITY * mask.numel()
