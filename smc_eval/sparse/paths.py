"""Paths from a net's inputs to its outputs, and the unpruned weights that lie on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from smc_eval.sparse.net import Net
from smc_eval.sparse.shadow import Shadowing, attention, positive, shadow
from smc_eval.sparse.unrolled import over_mean, unrolled, unrolled_cell

Function = Callable[..., Tensor]

GROUP_BYTES = 2**29
"""Bytes of the derivatives that are in memory at once, unless one weight alone needs more."""

LAYERS = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"


def on_paths(net: Net, outputs: Callable[[nn.Module], Tensor]) -> dict[str, Tensor] | None:
    """For each tensor in scope, a mask of the weights on a path from inputs to outputs.

    The net's linear shadow runs with every unpruned weight 1 and its inputs times s. All its values are
    sums of products of non-negative numbers, so R, the sum of its outputs, is a polynomial of which no
    term cancels. A weight w lies on a path exactly if w d²R / dw ds is not 0: some term has both.

    - Inputs are the data that layers read, and lookup tables. The effect of biases alone is a constant:
      it changes the outputs, but no input passes there.
    - Constants keep gates, softmaxes and products open: where all queries or keys are pruned, attention
      is uniform, and its values still count.
    - Of a residual branch and its shortcut one path is enough; so it is of the uses of a tied weight.
    - A unit of an RNN, GRU or LSTM is one unit. All its gates lead to it, and its biases are left out.
    - The mean and deviation of a norm, and the sum of a softmax, make no path between units.
    - Tensors that the outputs do not use, on this batch, are left out.

    The model is not changed. Returns None where a number left the range of floats, as 0 would then not
    mean that there is no path. Costs a forward pass, a backward pass, and another one for each group of
    weights; and a copy of the parameters in double precision.
    """
    dark = shadow(net.model)
    named = dict(dark.named_parameters())
    first = named[net.scope[0]]
    scale = torch.ones((), dtype=first.dtype, device=first.device, requires_grad=True)
    tracing = Tracing(scale)
    for module in dark.modules():
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            module.forward = partial(tracing.recurrent, module)
    masks = net.full_masks
    with torch.no_grad():
        for name, weight in net.model.named_parameters():
            if weight.is_floating_point():
                named[name].copy_(masks.get(name, weight != 0))
    reached = dict[str, Tensor]()
    weights = {name: named[name] for name in net.scope}
    for name, slope in _slopes(partial(outputs, dark), tracing, weights):
        if not bool(slope.isfinite().all()):
            return None
        reached[name] = masks[name] & (slope != 0)
    return reached


def _slopes(
    outputs: Function, tracing: Tracing, weights: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """d²R / dw ds of each weight by name; weights are left out where R has no such term at all."""
    with torch.enable_grad():
        with tracing:
            total = positive(outputs()).sum()
        if not total.requires_grad:
            return
        by_scale = torch.autograd.grad(total, [tracing.scale], create_graph=True, allow_unused=True)
        slope: Tensor | None = by_scale[0]
        del total, by_scale
        if slope is None or not slope.requires_grad:
            return
    for names in _groups(weights):
        chosen = [weights[name] for name in names]
        slopes = torch.autograd.grad(slope, chosen, allow_unused=True, retain_graph=True)
        parts = zip(names, cast("Sequence[Tensor | None]", slopes), strict=True)
        yield from ((name, part) for name, part in parts if part is not None)


def _groups(weights: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Names of weights that are differentiated together, in order: few enough to fit into memory."""
    names, size = list[str](), 0
    for name, weight in weights.items():
        if names and size + weight.nbytes > GROUP_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += weight.nbytes
    yield names


class Tracing(Shadowing):
    """Within, torch's functions are those of the shadow, with constants, and inputs times a scale."""

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
        super().__init__({name: function for function, names in named.items() for name in names.split()})

    def data_like(self, like: Tensor) -> Tensor:
        """Input data of this shape: the scale everywhere."""
        return self.scale.expand(like.shape)

    def recurrent(self, layer: Any, inputs: Any, hx: Any = None) -> Any:
        """A recurrent layer's shadow."""
        function = unrolled_cell if isinstance(layer, nn.RNNCellBase) else unrolled
        rows = inputs if isinstance(inputs, Tensor) else inputs.data
        if not rows.requires_grad:
            rows = self.data_like(rows)
        return function(layer, rows if isinstance(inputs, Tensor) else inputs._replace(data=rows), hx)

    def _layer(self, func: Function, x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return func(x.to(weight.dtype) if x.requires_grad else self.data_like(x), weight, *args, **kwargs)

    def _lookup(self, func: Function, ids: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not weight.requires_grad:
            return func(ids, weight, *args, **kwargs)
        shape = func(ids, weight.detach(), *args, **kwargs).shape
        return (weight.mean(0) * self.scale).expand(shape)


def _half_open(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    """A function that is not 0 at 0: it adds a constant."""
    return over_mean(x) + 1


def _gated(_: Any, x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * (over_mean(gate, dim) + 1)


def _shared(_: Any, x: Tensor, dim: int | None = None, *__: Any, **___: Any) -> Tensor:
    """A softmax: every position gets a share, except those that are masked."""
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
    """A mean over the last dimension with `keepdim` is part of a norm written out: no path."""
    keepdim = kwargs.get("keepdim", bool(args) and args[0])
    mean = func(x, *(() if dim is None else (dim,)), *args, **kwargs)
    return mean.detach() if keepdim and dim in (-1, x.ndim - 1, [-1], (-1,)) else mean
