"""Paths: which weights lie on a way from a net's inputs to its outputs, and which only seem to be left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.sparse.net import Net
from smc_eval.sparse.shadow import Shadowing, attention, positive, shadow
from smc_eval.sparse.unrolled import over_mean, unrolled, unrolled_cell

Function = Callable[..., Tensor]

LAYERS = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"


def on_paths(net: Net, outputs: Callable[[nn.Module], Tensor]) -> dict[str, Tensor] | None:
    """By name, which weights in scope lie on a path from inputs to outputs; the model is not touched.

    The net's linear shadow runs with every survivor 1 and its inputs times s. All in it is a sum of
    products of what is not negative, so R, the sum of its outputs, is a polynomial of which no term
    cancels, and a weight w lies on a path just if w d²R / dw ds is not 0: some term holds both.

    - Inputs are the data that layers read, and lookup tables. What only biases feed is a constant: it
      moves the outputs, but nothing that comes in passes there.
    - Constants keep gates, softmaxes and products open: where queries or keys are all gone attention
      is even, and what it passes on still counts.
    - Of a residual, and of a tied weight's uses, one that leads through is enough.
    - A unit of an RNN, GRU or LSTM is one unit, which all its gates feed and whose biases are left out.
    - What a norm's mean and deviation or a softmax's sum bring from other units is no path.
    - Tensors that the outputs never ask for, on this batch, lie on none and are left out.

    None where a number left the range of floats, so that 0 would not mean gone. Costs a forward and
    two backward passes, and two copies of the parameters in double precision.
    """
    dark = shadow(net.model)
    named = dict(dark.named_parameters())
    first = named[net.scope[0]]
    scale = torch.ones((), dtype=first.dtype, device=first.device, requires_grad=True)
    tracing = Tracing(scale)
    for module in dark.modules():
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            module.forward = partial(tracing.recurrent, module)
    alive = net.full_masks
    with torch.no_grad():
        for name, weight in net.model.named_parameters():
            if weight.is_floating_point():
                named[name].copy_(alive.get(name, weight != 0))
    slopes = _slopes(partial(outputs, dark), tracing, [named[name] for name in net.scope])
    if not all(bool(slope.isfinite().all()) for slope in slopes if slope is not None):
        return None
    return {
        name: alive[name] & (slope != 0)
        for name, slope in zip(net.scope, slopes, strict=True)
        if slope is not None
    }


def _slopes(outputs: Function, tracing: Tracing, weights: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """d²R / dw ds of each weight; None where R has no such term at all."""
    nothing = [None] * len(weights)
    with torch.enable_grad():
        with tracing:
            total = positive(outputs()).sum()
        if not total.requires_grad:
            return nothing
        through = torch.autograd.grad(total, [tracing.scale], create_graph=True, allow_unused=True)
        driven: Tensor | None = through[0]
        if driven is None or not driven.requires_grad:
            return nothing
        return torch.autograd.grad(driven, weights, allow_unused=True)


class Tracing(Shadowing):
    """Within, a net's functions are those of its shadow, with constants, and inputs times a scale."""

    def __init__(self, scale: Tensor) -> None:
        self.scale = scale
        named: dict[Function, str] = {
            self._layer: LAYERS,
            self._lookup: "embedding embedding_bag",
            _half_open: "sigmoid sigmoid_ hardsigmoid softplus",
            _gated: "glu",
            _shared: "softmax",
            _norm: "layer_norm",
            _mean: "mean",
            partial(attention, share=_shared): "scaled_dot_product_attention",
        }
        super().__init__({name: stands for stands, names in named.items() for name in names.split()})

    def given(self, like: Tensor) -> Tensor:
        """Data of this shape, as inputs count."""
        return self.scale.expand(like.shape)

    def recurrent(self, layer: Any, inputs: Any, hx: Any = None) -> Any:
        """A recurrent layer's shadow."""
        stands = unrolled_cell if isinstance(layer, nn.RNNCellBase) else unrolled
        rows = inputs if isinstance(inputs, Tensor) else inputs.data
        if not rows.requires_grad:
            rows = self.given(rows)
        return stands(layer, rows if isinstance(inputs, Tensor) else inputs._replace(data=rows), hx)

    def _layer(self, func: Function, x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return func(x.to(weight.dtype) if x.requires_grad else self.given(x), weight, *args, **kwargs)

    def _lookup(self, func: Function, ids: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not weight.requires_grad:
            return func(ids, weight, *args, **kwargs)
        shape = func(ids, weight.detach(), *args, **kwargs).shape
        return (weight.mean(0) * self.scale).expand(shape)


def _half_open(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    """What is not 0 at 0 passes a constant on."""
    return over_mean(x) + 1


def _gated(_: Any, x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * (over_mean(gate, dim) + 1)


def _shared(_: Any, x: Tensor, dim: int | None = None, *__: Any, **___: Any) -> Tensor:
    """A softmax leaves no place without a share but those that are masked."""
    open_ = torch.where(x < 0, 0, x + 1)
    total = open_.detach().sum(-1 if dim is None else dim, keepdim=True)
    return open_ / torch.where(total > 0, total, 1)


def _norm(
    _: Any, x: Tensor, shape: Sequence[int], weight: Any = None, bias: Any = None, *__: Any, **___: Any
) -> Tensor:
    flat = over_mean(x, tuple(range(-len(shape), 0)))
    scaled = flat if weight is None else flat * weight
    return scaled if bias is None else scaled + bias


def _mean(func: Function, x: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    """Over a unit's neighbours it is what a norm that is written out takes away: no path."""
    kept = kwargs.get("keepdim", bool(args) and args[0])
    mean = func(x, *(() if dim is None else (dim,)), *args, **kwargs)
    return mean.detach() if kept and dim in (-1, x.ndim - 1, [-1], (-1,)) else mean
