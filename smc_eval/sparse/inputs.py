"""Inputs of weights: the rows that every linear map multiplies, observed while the model runs unchanged.

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
from torch.utils._python_dispatch import _disable_current_modes

from smc_eval.sparse.padding import Reading, without_padding
from smc_eval.sparse.patches import ARGUMENTS, CONVOLUTIONS, unfolded
from smc_eval.sparse.recurrent import lower_layers, multiplied_rows
from smc_eval.sparse.sight import Sight

Region = tuple[slice, slice]
"""Rows and columns of `weight.flatten(1)`."""


class InputObserver(Protocol):
    """A function that gets the inputs of weights."""

    def __call__(self, name: str, region: Region, x_NI: Tensor, /) -> None:
        """The rows and columns `region` of the weight `name` multiplied N rows of inputs."""


@runtime_checkable
class TransposedObserver(Protocol):
    """An `InputObserver` that also gets the inputs of weights whose rows are inputs, as in `x @ weight`.

    Other observers do not get them.
    """

    def transposed(self, name: str, region: Region, x_NI: Tensor, /) -> None:
        """The rows `region` of the weight `name` are inputs; its columns multiplied N rows of inputs."""


@runtime_checkable
class StackedObserver(Protocol):
    """An `InputObserver` that also gets the inputs of a stack of matrices, one of which is used at a time.

    The experts of a mixture are such a stack: a weight of three dimensions. Other observers do not get them.
    """

    def stacked(self, name: str, number: int, region: Region, x_NI: Tensor, /, *, turned: bool) -> None:
        """The rows and columns `region` of the matrix `weight[number]` multiplied N rows of inputs.

        With `turned`, the rows of the matrix are inputs, as in `x @ matrix`.
        """


@runtime_checkable
class Reducible(Protocol):
    """An `InputObserver` that only adds up. Each rank then runs a share of the batches.

    The sums of all ranks are added afterwards, in place.
    """

    def keys(self) -> Iterable[Any]:
        """The keys of all sums; hashable values that can be sorted."""

    def sum_at(self, key: Any) -> Tensor:
        """One sum; zeros where this rank has nothing yet."""


PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm, torch.mv, Tensor.mv)
CELLS = (torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell)
WATCHED = frozenset((F.linear, *PRODUCTS, torch.addmm, *CONVOLUTIONS, *CELLS))
"""All functions whose arguments are inspected."""


@contextmanager
def observing(
    model: nn.Module, weights: Mapping[str, Tensor], observer: InputObserver
) -> Iterator[InputWatch]:
    """Within, `observer(name, region, x_NI)` is called whenever one of these weights multiplies rows.

    The arguments of torch's own functions are inspected, so any kind of layer may be used: `linear`,
    products with a matrix, convolutions, recurrent cells, `nn.MultiheadAttention`. Recurrent layers are
    observed by module, because their kernels call no function. A weight is identified by its memory:
    tied weights are one, a view of some rows or columns is a part of the weight, and a copy is not
    observed. Of a stack of matrices, such as experts, the matrix that is used is a part. Other products
    (lookup tables, `einsum`, batches of matrices, transposed convolutions, projections of an LSTM) are not
    observed. Padding is no input: see `without_padding`, and `real`.
    """
    recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    with without_padding(model) as reading:
        watch = InputWatch(weights, observer, reading)
        usual = [vars(module).get("forward") for module in recurrent]
        for module in recurrent:
            module.forward = watch.recurrent(module)
        try:
            with watch:
                yield watch
        finally:
            for module, forward in zip(recurrent, usual, strict=True):
                del module.forward
                if forward is not None:
                    module.forward = forward


class InputWatch(TorchFunctionMode):
    """Inspects calls of torch functions, and reports those that multiply one of the weights."""

    def __init__(self, weights: Mapping[str, Tensor], observer: InputObserver, reading: Reading) -> None:
        super().__init__()
        self.observer, self.reading = observer, reading
        self.weights = sorted(weights.items(), key=lambda named: named[1].data_ptr())
        self.starts = [weight.data_ptr() for _, weight in self.weights]
        self.sight = Sight()
        """What was reported so far."""
        self._last: tuple[Tensor, object, Tensor, bool] | None = None
        """The last inputs, what they depended on, their rows, and whether these may have padding."""
        self.real: Tensor | None = None
        """Which tokens of the batch are real, where the task declares it: inputs of the same leading
        dimensions lose the others."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:  # torch passes the whole function: its inner calls must be inspected too
                return _without_override_check(func)(*args, **kwargs)
        if func in WATCHED:
            self._inspect(func, args, kwargs)
        return func(*args, **kwargs)

    def _inspect(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Report a call's weights and their inputs, before the call."""
        if func is F.linear:
            x, weight = [*args, *(kwargs[key] for key in ("input", "weight") if key in kwargs)][:2]
            self.report(weight, x)
        elif func in PRODUCTS and len(args) == 2 and all(isinstance(arg, Tensor) for arg in args):
            self._inspect_product(*args)
        elif func is torch.addmm and len(args) == 3:
            self._inspect_product(*args[1:])
        elif func in CONVOLUTIONS:
            arguments = dict(zip(ARGUMENTS, args, strict=False)) | dict(kwargs)
            weight = arguments["weight"].flatten(1)
            if self._find(weight):  # else it need not be unfolded
                for outputs, x_NI in unfolded(arguments):
                    self.report(weight[outputs], x_NI)
        elif func in CELLS:
            hidden = args[1][0] if func is torch.lstm_cell else args[1]
            self.report(args[2], args[0])
            self.report(args[3], hidden)

    def _inspect_product(self, left: Tensor, right: Tensor) -> None:
        """Report the inputs of `x @ weight` or of `weight @ x`."""
        if right.ndim == 2:
            self.report(right.t(), left)
        if left.ndim == 2:
            self.report(left, right.mT if right.ndim > 1 else right)

    def report(self, weight_OI: Tensor, x: Tensor) -> None:
        """Report the rows that a matrix multiplied, if it is one of the weights or a part of one."""
        if weight_OI.ndim != 2:
            return
        observer: Callable[[str, Region, Tensor], None] = self.observer
        found = self._find(weight_OI)
        if found is None and isinstance(self.observer, TransposedObserver):
            observer, found = self.observer.transposed, self._find(weight_OI.t())
        if found:
            name, (rows, columns) = found
            edges = rows.start, rows.stop, columns.start, columns.stop
            self.sight.rectangles.setdefault(name, set()).add(edges)
            with _disable_current_modes():  # the observer's own arithmetic is not the net's
                observer(name, (rows, columns), self._rows(name, x))
        elif isinstance(self.observer, StackedObserver):
            self._report_stacked(self.observer, weight_OI, x)

    def _report_stacked(self, observer: StackedObserver, weight_OI: Tensor, x: Tensor) -> None:
        """Report the rows that a matrix of a stack multiplied."""
        for matrix, turned in ((weight_OI, False), (weight_OI.t(), True)):
            if found := self._find_in_stack(matrix):
                name, number, (rows, columns) = found
                width = dict(self.weights)[name].shape[2]
                seen = self.sight.rectangles.setdefault(name, set())
                # in `weight.flatten(1)` a matrix is one row
                whole = columns == slice(0, width)
                for first, last in [(rows.start, rows.stop)] if whole else _each(rows):
                    left, right = first * width + columns.start, (last - 1) * width + columns.stop
                    seen.add((number, number + 1, left, right))
                with _disable_current_modes():
                    rows_NI = self._rows(name, x)
                    observer.stacked(name, number, (rows, columns), rows_NI, turned=turned)
                return

    def _rows(self, name: str, x: Tensor) -> Tensor:
        """The inputs of a weight as rows: one and the same tensor for all weights that read them in turn."""
        if x.is_inference():  # torch does not count its writes
            rows, noted = self._real_rows(x.detach())
        else:
            state = (x._version, self.reading.size, self.reading.padding, id(self.real))  # noqa: SLF001
            if self._last is None or self._last[0] is not x or self._last[1] != state:
                self._last = (x, state, *self._real_rows(x.detach()))
            *_, rows, noted = self._last
        if noted:
            self.sight.padded.add(name)
        return rows

    def _real_rows(self, x: Tensor) -> tuple[Tensor, bool]:
        """The inputs as rows, without padding, and whether they may still have some.

        Inputs that a call shares among its rows, such as relative positions, count once for each row, so
        that the number of rows in a call does not matter.
        """
        leading, rows = tuple(x.shape[:-1]), x.reshape(-1, x.shape[-1])
        size, padding = self.reading.size, self.reading.padding
        if size:  # the net itself may add positions
            noted = len(leading) == 2 and leading[0] == size[0] and leading[1] > size[1]
            if len(leading) == 2 and leading[0] == 1 and leading[1] != size[0]:
                rows = rows.repeat(size[0], 1)
        elif padding:
            noted = leading in (padding, (padding[0] * padding[1],))
        elif self.real is None or bool(self.real.all()):
            noted = False
        else:
            real_ML = self.real.flatten(0, -2)
            shapes = {tuple(self.real.shape), tuple(real_ML.shape)}
            if leading in shapes and real_ML.shape[0] != real_ML.shape[1]:
                return rows[real_ML.flatten()], False
            noted = len(leading) > 1 or len(rows) == real_ML.numel()
        return rows, noted

    def _find(self, matrix: Tensor) -> tuple[str, Region] | None:
        """The weight of which a matrix is a rectangle, and the rows and columns of that rectangle."""
        if not (found := self._owner(matrix)):
            return None
        name, weight, ahead = found
        region = _rectangle(matrix, ahead, len(weight), weight.numel() // len(weight))
        return (name, region) if region else None

    def _find_in_stack(self, matrix: Tensor) -> tuple[str, int, Region] | None:
        """The same for a weight that is a stack of matrices, with the number of the matrix."""
        found = self._owner(matrix)
        if not found or found[1].ndim != 3:
            return None
        name, weight, ahead = found
        number, ahead = divmod(ahead, weight[0].numel())
        region = _rectangle(matrix, ahead, *weight.shape[1:])
        return (name, number, region) if region else None

    def _owner(self, matrix: Tensor) -> tuple[str, Tensor, int] | None:
        """The weight in whose memory a matrix begins, and how many numbers lie before it."""
        at = bisect_right(self.starts, matrix.data_ptr()) - 1
        if at < 0:
            return None
        name, weight = self.weights[at]
        ahead = (matrix.data_ptr() - self.starts[at]) // weight.element_size()
        if ahead >= weight.numel() or not weight.is_contiguous() or matrix.dtype != weight.dtype:
            return None
        return name, weight, ahead

    def recurrent(self, module: nn.RNNBase) -> Callable[..., Any]:
        """A `forward` for a recurrent layer that afterwards reports the inputs of its weights."""
        forward, lower = module.forward, lower_layers(module)

        def watched(*args: Any, **kwargs: Any) -> Any:
            inputs = args[0] if args else kwargs["input"]
            hx = args[1] if len(args) > 1 else kwargs.get("hx")
            with torch._C.DisableTorchFunction():  # noqa: SLF001 - else its own calls are reported twice
                output = forward(*args, **kwargs)
                for weight, x_NI in multiplied_rows(module, lower, inputs, hx, output[0]):
                    self.report(weight, x_NI)
            return output

        return watched


def _rectangle(matrix: Tensor, ahead: int, height: int, width: int) -> Region | None:
    """The rows and columns that a matrix has of a larger one, in which so many numbers lie before it."""
    rows, columns = matrix.shape
    row, column = divmod(ahead, width)
    inside = row + rows <= height and column + columns <= width
    straight = columns == 1 or matrix.stride(1) == 1
    apart = rows == 1 or matrix.stride(0) == width
    if not (inside and straight and apart):
        return None
    return slice(row, row + rows), slice(column, column + columns)


def _each(rows: slice) -> list[tuple[int, int]]:
    """Each of some rows as a range of its own."""
    return [(row, row + 1) for row in range(rows.start, rows.stop)]


def _without_override_check(function: Any) -> Any:
    """A copy of a torch function that does not hand its call to an active TorchFunctionMode."""
    names = {**function.__globals__, "has_torch_function": lambda _: False}  # as torch has them now
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
