"""What weights multiply: the rows that every linear map is given, seen while the model runs as it is.

Shapes: N rows, I inputs, O outputs, H hidden.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from smc_eval.sparse.recurrent import lower_layers, seen

Region = tuple[slice, slice]
"""Rows and columns of `weight.flatten(1)`."""


class InputObserver(Protocol):
    """Is shown what weights multiply."""

    def __call__(self, name: str, place: Region, x_NI: Tensor, /) -> None:
        """Those rows and columns of the weight `name` multiplied N rows of inputs."""


@runtime_checkable
class Reducible(Protocol):
    """An `InputObserver` that only adds up. Each rank then runs a share of the batches.

    The sums of all ranks are added afterwards, in place.
    """

    def keys(self) -> Iterable[Any]:
        """Which sums there are; hashable values that can be sorted."""

    def sum_at(self, key: Any) -> Tensor:
        """One sum; zeros where this rank has nothing yet."""


PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm)
CELLS = (torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell)


@contextmanager
def observing(model: nn.Module, weights: Mapping[str, Tensor], see: InputObserver) -> Iterator[None]:
    """Within, `see(name, place, x_NI)` is told whenever one of these weights multiplies rows.

    It is what torch's own functions are called with that counts, so that no layer need be known:
    `linear`, products with a transposed matrix, recurrent cells, `nn.MultiheadAttention`; and by
    module every recurrent layer, whose kernels show nothing. A weight is known by where it lies in
    memory: tied ones are one, a view of some rows or columns is a part of the whole, and a copy is
    nobody's. What is multiplied otherwise (lookup tables, convolutions, `einsum`) is not seen, nor
    are an LSTM's projections. Padding counts where the model multiplies it.
    """
    watch = Watch(weights, see)
    recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    usual = [vars(module).get("forward") for module in recurrent]
    for module in recurrent:
        module.forward = watch.recurrent(module)
    try:
        with watch:
            yield
    finally:
        for module, forward in zip(recurrent, usual, strict=True):
            del module.forward
            if forward is not None:
                module.forward = forward


class Watch(TorchFunctionMode):
    """Sees torch's functions called, and tells of those that multiply a known weight."""

    def __init__(self, weights: Mapping[str, Tensor], see: InputObserver) -> None:
        super().__init__()
        self.see = see
        self.weights = sorted(weights.items(), key=lambda named: named[1].data_ptr())
        self.starts = [weight.data_ptr() for _, weight in self.weights]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:  # torch hands over the whole function: go on watching inside
                return ATTENTION(*args, **kwargs)
        self._look(func, args, kwargs)
        return func(*args, **kwargs)

    def _look(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Tell of a call's weights and what they multiply, before it is made."""
        if func is F.linear:
            x, weight = [*args, *(kwargs[key] for key in ("input", "weight") if key in kwargs)][:2]
            self.show(weight, x)
        elif func in PRODUCTS and len(args) == 2 and isinstance(args[1], Tensor) and args[1].ndim == 2:
            self.show(args[1].t(), args[0])
        elif func is torch.addmm and len(args) == 3:
            self.show(args[2].t(), args[1])
        elif func in CELLS:
            hidden = args[1][0] if func is torch.lstm_cell else args[1]
            self.show(args[2], args[0])
            self.show(args[3], hidden)

    def show(self, weight_OI: Tensor, x: Tensor) -> None:
        """Tell of rows that a matrix multiplied, if it is one of the weights or a part of one."""
        if weight_OI.ndim == 2 and (found := self._find(weight_OI)):
            self.see(*found, x.detach().reshape(-1, weight_OI.shape[1]))

    def _find(self, matrix: Tensor) -> tuple[str, Region] | None:
        """The weight that a matrix is a rectangle of, and which rows and columns."""
        at = bisect_right(self.starts, matrix.data_ptr()) - 1
        if at < 0:
            return None
        name, weight = self.weights[at]
        ahead = (matrix.data_ptr() - self.starts[at]) // weight.element_size()
        if ahead >= weight.numel() or not weight.is_contiguous() or matrix.dtype != weight.dtype:
            return None
        (rows, columns), width = matrix.shape, weight.numel() // len(weight)
        row, column = divmod(ahead, width)
        inside = row + rows <= len(weight) and column + columns <= width
        straight = columns == 1 or matrix.stride(1) == 1
        stacked = rows == 1 or matrix.stride(0) == width
        if not (inside and straight and stacked):
            return None
        return name, (slice(row, row + rows), slice(column, column + columns))

    def recurrent(self, module: nn.RNNBase) -> Callable[..., Any]:
        """A recurrent layer's `forward` that afterwards tells what its weights multiplied."""
        forward, lower = module.forward, lower_layers(module)

        def watched(*args: Any, **kwargs: Any) -> Any:
            inputs = args[0] if args else kwargs["input"]
            hx = args[1] if len(args) > 1 else kwargs.get("hx")
            with torch._C.DisableTorchFunction():  # noqa: SLF001 - its own calls would be shown twice
                output = forward(*args, **kwargs)
                for weight, x_NI in seen(module, lower, inputs, hx, output[0]):
                    self.show(weight, x_NI)
            return output

        return watched


def _unasking(function: Any) -> Any:
    """A copy of one of torch's functions that does not ask again whether somebody watches."""
    names = {**function.__globals__, "has_torch_function": lambda _: False}
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


ATTENTION = _unasking(F.multi_head_attention_forward)
