"""Map reads: the inputs of each linear map with their graph, to see what they depend on.

Shapes: N rows, O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smc_eval.sparse.inputs import InputWatch
from smc_eval.sparse.padding import Reading
from smc_eval.sparse.tensors import Tensors


@dataclass
class MapReads:
    """A map, and the inputs of its calls with their graph."""

    name: str
    turned: bool
    """Whether its rows are inputs, as in `x @ weight`."""
    inputs: list[Tensor]
    """[N, I] of each call."""

    @property
    def width(self) -> int:
        """I."""
        return self.inputs[0].shape[1]

    def slopes(self, columns: Tensor, sources: Tensors, generator: torch.Generator) -> dict[str, Tensor]:
        """Gradients of a random sum over the inputs of some columns, by the sources that they depend on."""
        weights = [torch.randn(x_NI.shape, generator=generator) * columns for x_NI in self.inputs]
        return slopes_of(self.inputs, weights, sources)


class ReadCapture(InputWatch):
    """Keeps the inputs of each whole weight, with their graph."""

    def __init__(self, weights: Tensors) -> None:
        super().__init__(weights, lambda *_: None, Reading())
        self.reads: dict[str, MapReads] = {}
        self._sizes = {name: weight.numel() for name, weight in weights.items()}

    def report(self, weight_OI: Tensor, x: Tensor) -> None:
        reader = self.reader_of(weight_OI)
        if reader and x.requires_grad:
            name, turned = reader
            reads = self.reads.setdefault(name, MapReads(name, turned, []))
            reads.inputs.append(x.reshape(-1, x.shape[-1]))

    def reader_of(self, weight_OI: Tensor) -> tuple[str, bool] | None:
        """The weight that this matrix is, and whether it is transposed; None if it is only a part of one."""
        for matrix, turned in ((weight_OI, False), (weight_OI.t(), True)) if weight_OI.ndim == 2 else ():
            found = self._find(matrix)
            if found and matrix.numel() == self._sizes[found[0]]:
                return found[0], turned
        return None


class CuttingCapture(ReadCapture):
    """Also cuts the inputs of some maps from the graph, or the outputs of some."""

    def __init__(
        self, weights: Tensors, inputs_of: Collection[str] = (), outputs_of: Collection[str] = ()
    ) -> None:
        super().__init__(weights)
        self._inputs_of, self._outputs_of, self._names = inputs_of, outputs_of, set[str]()
        self.leaves: dict[str, list[Tensor]] = {}
        """The outputs that were cut, by the name of their weight: new starts of the graph."""

    def report(self, weight_OI: Tensor, x: Tensor) -> None:
        super().report(weight_OI, x)
        for matrix in (weight_OI, weight_OI.t()) if weight_OI.ndim == 2 else ():
            if found := self._find(matrix):
                self._names.add(found[0])

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.multi_head_attention_forward:
            return super().__torch_function__(func, types, args, kwargs)
        kwargs, self._names = kwargs or {}, set()
        self._inspect(func, args, kwargs)
        if self._names & set(self._inputs_of):
            args, kwargs = tuple(map(_cut, args)), {name: _cut(value) for name, value in kwargs.items()}
        outputs = func(*args, **kwargs)
        cut = self._names & set(self._outputs_of)
        if cut and isinstance(outputs, Tensor):
            outputs = outputs.detach().requires_grad_()
            for name in cut:
                self.leaves.setdefault(name, []).append(outputs)
        return outputs


def _cut(value: Any) -> Any:
    """A value outside of the graph, unless it is a parameter."""
    return value.detach() if isinstance(value, Tensor) and not value.is_leaf else value


def slopes_of(values: Sequence[Tensor], weights: Sequence[Tensor], sources: Tensors) -> dict[str, Tensor]:
    """Gradients of a weighted sum of values by each source on which it depends."""
    gradients = torch.autograd.grad(
        values,
        list(sources.values()),
        [weight.to(value) for weight, value in zip(weights, values, strict=True)],
        retain_graph=True,
        allow_unused=True,
    )
    found: list[tuple[str, Tensor | None]] = list(zip(sources, gradients, strict=True))
    return {name: gradient.flatten(1) for name, gradient in found if gradient is not None}
