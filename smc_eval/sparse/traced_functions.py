"""The functions of a traced net: each with the same zeros, and with a second derivative where it has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from smc_eval.sparse.gates import curved, half_open, leveled
from smc_eval.sparse.shadow import MASKING_VALUE, positive
from smc_eval.sparse.varying import Function


def _same(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    return x


def _curved(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    return curved(x)


def _half_open(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    return half_open(x)


def _gated(_: Any, x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * half_open(gate)


def _power(func: Function, x: Any, exponent: Any) -> Any:
    """A root is part of a norm that is written out: a constant."""
    if not isinstance(exponent, (int, float)) or not isinstance(x, Tensor):
        return half_open(exponent if isinstance(exponent, Tensor) and exponent.requires_grad else x)
    if abs(exponent) == 0.5:
        return func(x, exponent).detach()
    return func(x, exponent) if exponent >= 1 else half_open(x)


def _log_softmax(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    return positive(x)


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Gain and bias of a norm; the mean that it subtracts is a constant."""
    x = x + 1 if weight is None else (x + 1) * weight
    return x if bias is None else x + bias


def _channels(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (1, -1, *(1,) * (x.ndim - 2))
    return _scaled(x, *(None if each is None else each.view(shape) for each in (weight, bias)))


def _layer_norm(
    _: Any, x: Tensor, __: Sequence[int], weight: Any = None, bias: Any = None, *___: Any, **____: Any
) -> Tensor:
    return _scaled(leveled(x), weight, bias)


def _group_norm(
    _: Any, x: Tensor, __: int, weight: Any = None, bias: Any = None, *___: Any, **____: Any
) -> Tensor:
    return _channels(leveled(x), weight, bias)


def _channel_norm(_: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A norm of batches or instances; mean and variance are its first two arguments."""
    weight, bias = (
        kwargs.get(name, args[place] if len(args) > place else None)
        for place, name in ((2, "weight"), (3, "bias"))
    )
    return _channels(leveled(x), weight, bias)


def _mean(func: Function, x: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    """A mean over the last dimension with `keepdim` is part of a norm written out: no path."""
    keepdim = kwargs.get("keepdim", bool(args) and args[0])
    mean = cast("Tensor", func(x, *(() if dim is None else (dim,)), *args, **kwargs))
    return mean.detach() if keepdim and dim in (-1, x.ndim - 1, [-1], (-1,)) else mean


def _highest(func: Function, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """A maximum may be any of its values: their sum."""
    other = args[0] if args and isinstance(args[0], Tensor) else kwargs.get("other")
    if isinstance(other, Tensor):
        return torch.where(other > MASKING_VALUE, other, 0) + x if other.ndim else x
    if not args and not kwargs:
        return x.sum()
    result = func(x, *args, **kwargs)
    total = positive(x).sum(*args, **kwargs)
    return total if isinstance(result, Tensor) else type(result)((total, result[1]))


def _loss(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    """A loss is not traced."""
    return x.detach().sum()


def _packed(func: Function, x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001 - torch's
    """Rows of a packed sequence, one step after the other."""
    sizes: Tensor = func(x.detach(), lengths, batch_first)[1]
    steps = x.transpose(0, 1) if batch_first else x
    return torch.cat([steps[n, :size] for n, size in enumerate(sizes.tolist())]), sizes


NAMES: dict[Callable[..., Any], str] = {
    _same: "relu relu_ relu6 hardtanh hardtanh_ leaky_relu leaky_relu_ rrelu prelu threshold "
    "clamp clamp_ clip clip_ neg negative __neg__ abs",
    _curved: "gelu silu elu elu_ selu selu_ celu celu_ mish hardswish tanh tanh_ softsign sin erf",
    _half_open: "sigmoid sigmoid_ hardsigmoid softplus exp cos log log1p reciprocal",
    _gated: "glu",
    _power: "pow __pow__",
    _log_softmax: "log_softmax logsigmoid",
    _layer_norm: "layer_norm",
    _group_norm: "group_norm",
    _channel_norm: "batch_norm instance_norm",
    _mean: "mean",
    _highest: "amax amin max min maximum minimum",
    _loss: "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss kl_div ctc_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss",
    _packed: "_pack_padded_sequence",
}
TRACED_FUNCTIONS = {name: function for function, names in NAMES.items() for name in names.split()}
"""These functions by the names of the torch functions that they replace."""
