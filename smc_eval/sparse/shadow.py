"""A linearised copy of a net, its linear shadow: positive weights, inputs of 1, fixed activations and norms.

The shadow of any net computes sums of products of absolute weights. A copy of the model runs the same
Python code, while other functions take the place of torch's:

- an unbounded activation is the identity, and so is a dropout
- a norm or a bounded activation divides by a detached mean, so that deep nets neither overflow nor
  vanish; a softmax divides by a detached sum, and is 0 where it is masked
- of values that do not depend on weights, inputs of a layer are 1, factors are positive, and summands
  are left out, as biases are, except masks; a lookup returns the mean of the table for every row
- a difference is a sum, a divisor is detached

A detached factor scales the flow, and does not move it between the weights of a layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from types import FunctionType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from smc_eval.sparse.unrolled import over_mean, unrolled, unrolled_cell

MASKING_VALUE = -1e3
"""A summand of at most this masks its position in a softmax."""

ACTIVATIONS = "transformers.activations"
"""A module of elementwise activations; the formulas of some have no linear part."""


def shadow(model: nn.Module) -> nn.Module:
    """A copy of the model to run under `Shadowing`: absolute weights in double precision, biases 0.

    A parameter is a bias if its name contains `bias`, else one of one dimension is a gain. Tied weights stay
    tied, and zeros stay zero.
    """
    memo = {id(weight): _absolute(name, weight) for name, weight in model.named_parameters()}
    dark = copy.deepcopy(model, cast("dict[int, Any]", memo)).eval()
    for module in dark.modules():
        if isinstance(module, nn.RNNBase):
            module.forward = partial(unrolled, module)
        elif isinstance(module, nn.RNNCellBase):
            module.forward = partial(unrolled_cell, module)
        elif type(module).__module__ == ACTIVATIONS:
            module.forward = _same
    return dark


def _absolute(name: str, weight: nn.Parameter) -> nn.Parameter:
    if not weight.is_floating_point():
        return weight
    bias = "bias" in name.rpartition(".")[2]
    double = torch.float32 if weight.device.type == "mps" else torch.float64  # mps has no float64
    values = weight.detach().to(double, copy=True).abs_()
    return nn.Parameter(values.zero_() if bias else values)


class Shadowing(TorchFunctionMode):
    """Within, torch functions of values that depend on weights are replaced by those of a linear shadow."""

    def __init__(self, replacements: Mapping[str, Callable[..., Any]] | None = None) -> None:
        """`replacements`, by name, take the place of those in `SHADOWS`."""
        super().__init__()
        self.replacements = {**SHADOWS, **(replacements or {})}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not _any_depends((*args, *kwargs.values())):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in self.replacements:
            first = (kwargs.pop("input"),) if "input" in kwargs else ()
            return self.replacements[name](func, *first, *args, **kwargs)
        if isinstance(func, FunctionType) and func.__globals__ is vars(nn.functional):
            with self:
                return _without_override_check(func)(*args, **kwargs)
        return func(*args, **kwargs)


def positive(x: Tensor) -> Tensor:
    """The flow: masked positions, below zero, become 0."""
    return x.clamp(min=0)


def _depends(x: object) -> bool:
    """Whether a value depends on weights."""
    return isinstance(x, Tensor) and x.requires_grad


def _any_depends(values: Iterable[Any]) -> bool:
    return any(
        _any_depends(value) if isinstance(value, (list, tuple)) else _depends(value) for value in values
    )


@lru_cache(maxsize=256)
def _without_override_check(func: FunctionType) -> FunctionType:
    """A copy of a torch function written in Python that does not hand its call to an active
    TorchFunctionMode; the functions that it calls do."""
    checks = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    names = func.__globals__ | dict.fromkeys(checks, lambda *_: False)
    body = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    body.__kwdefaults__ = func.__kwdefaults__
    return body


def _factor(x: Any, like: Tensor) -> Any:
    """A factor: positive, unless it depends on weights."""
    if _depends(x) or not isinstance(x, (Tensor, int, float)):
        return x
    if not isinstance(x, Tensor):
        return abs(x)
    return x if x.dtype == torch.bool else x.abs().to(like.dtype) if x.is_floating_point() else x.abs()


def _summand(x: Any) -> Any:
    """A summand: 0 unless it is a mask or depends on weights."""
    if isinstance(x, Tensor):
        return x if x.requires_grad or x.dtype == torch.bool else torch.where(x <= MASKING_VALUE, x, 0)
    return x if x <= MASKING_VALUE else 0


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _identity(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    return x


def _squash(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    return over_mean(x)


def _ones(_: Any, x: Tensor) -> Tensor:
    """erf, as in GELUs that are written out: x (1 + erf x) / 2 becomes x."""
    return torch.ones_like(x)


def _gated(_: Any, x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * over_mean(gate, dim)


def _softmax(_: Any, x: Tensor, dim: int | None = None, *__: Any, **___: Any) -> Tensor:
    p = positive(x)
    total = p.detach().sum(-1 if dim is None else dim, keepdim=True)
    return p / torch.where(total > 0, total, 1)


def _log_softmax(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    """Log-probabilities become the logits themselves."""
    return positive(x)


def _norm(_: Any, x: Tensor, shape: Sequence[int], *args: Any, **kwargs: Any) -> Tensor:
    weight = _gain(args, 0, kwargs)
    flat = over_mean(x, tuple(range(-len(shape), 0)))
    return flat if weight is None else flat * weight


def _group_norm(_: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return _by_channel(over_mean(x, tuple(range(1, x.ndim))), _gain(args, 1, kwargs))


def _batch_norm(_: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return _by_channel(over_mean(x, tuple(range(x.ndim))), _gain(args, 2, kwargs))


def _gain(args: Sequence[Any], place: int, kwargs: Mapping[str, Any]) -> Tensor | None:
    return cast("Tensor | None", kwargs.get("weight", args[place] if len(args) > place else None))


def _by_channel(x: Tensor, weight: Tensor | None) -> Tensor:
    return x if weight is None else x * weight.view(1, -1, *(1,) * (x.ndim - 2))


def _lookup(func: Callable[..., Tensor], ids: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The mean of all rows of the table."""
    if not weight.requires_grad:  # then only the sample weights of a bag do
        return func(ids, weight, *args, **kwargs)
    shape = func(ids, weight.detach(), *args, **kwargs).shape
    return weight.mean(0).expand(shape)


def _layer(func: Callable[..., Tensor], x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Linear and convolutional layers, without bias; input data becomes 1."""
    inputs = x.to(weight.dtype) if x.requires_grad else torch.ones_like(x, dtype=weight.dtype)
    kwargs.pop("bias", None)
    return func(inputs, weight, None, *args[1:], **kwargs)


def _product(func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    flat = [y for x in args for y in (x if isinstance(x, (list, tuple)) else (x,))]  # einsum takes a list
    like: Tensor = next(x for x in (*flat, *kwargs.values()) if _depends(x))
    factors = {name: _factor(x, like) for name, x in kwargs.items()}
    return func(*(_factor(x, like) for x in flat), **factors)


def _product_in_place(func: Callable[..., Tensor], x: Tensor, y: Any) -> Tensor:
    return func(x, _factor(y, x))


def _quotient(func: Callable[..., Tensor], x: Any, y: Any, **kwargs: Any) -> Tensor:
    y = _factor(y.detach() if isinstance(y, Tensor) else y, x)
    return func(x, torch.where(y == 0, 1, y) if isinstance(y, Tensor) else y, **kwargs)


def _sum(_: Any, x: Any, y: Any, alpha: float = 1) -> Tensor:
    x, y = (x, y) if isinstance(x, Tensor) else (y, x)
    return torch.add(_summand(x), _summand(y), alpha=abs(alpha))


def _sum_in_place(_: Any, x: Tensor, y: Any, alpha: float = 1) -> Tensor:
    return x.add_(_summand(y), alpha=abs(alpha))


def _difference(func: Callable[..., Tensor], x: Any, y: Any, alpha: float = 1) -> Tensor:
    x, y = (y, x) if "rsub" in func.__name__ else (x, y)
    return _sum(func, x, y if _depends(y) else -y, alpha)


def _difference_in_place(func: Callable[..., Tensor], x: Tensor, y: Any, alpha: float = 1) -> Tensor:
    return _sum_in_place(func, x, y if _depends(y) else -y, alpha)


def _product_and_sum(_: Any, start: Tensor, left: Tensor, right: Tensor, **__: Any) -> Tensor:
    return torch.add(_summand(start), _product(torch.matmul, left, right))


def _detached(func: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The divisor of a norm that is written out: a constant."""
    return func(x, *args, **kwargs).detach()


def _deviation(func: Callable[..., Tensor], x: Tensor, dim: Any = None, *_: Any, **kwargs: Any) -> Tensor:
    """A variance or standard deviation about zero: a shadow subtracts no mean."""
    dims = kwargs.get("dim", None if isinstance(dim, bool) else dim)  # x.std(False) is of all values
    squares = x.detach().square().mean(dims, keepdim=bool(kwargs.get("keepdim")))
    return squares if func.__name__ == "var" else squares.sqrt()


def _cast(func: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Values that depend on weights keep their float type."""
    cast_ = func(x.detach() if _depends(x) else x, *args, **kwargs)
    return x if _depends(x) and cast_.is_floating_point() else cast_


def attention(
    _: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, share: Any = _softmax, **kwargs: Any
) -> Tensor:
    """Attention written out; `share` replaces its softmax."""
    options = dict(zip(("attn_mask", "dropout_p", "is_causal"), args, strict=False)) | kwargs
    if options.get("enable_gqa"):
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = query @ key.transpose(-2, -1) * abs(options.get("scale") or query.shape[-1] ** -0.5)
    if options.get("is_causal"):
        later = scores.new_ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    mask = options.get("attn_mask")
    if mask is not None:
        boolean = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, -math.inf) if boolean else scores + _summand(mask)
    return cast("Tensor", share(None, scores) @ value)


SHADOW_NAMES: Mapping[Callable[..., Any], str] = {
    _identity: "relu relu_ gelu silu elu elu_ selu selu_ celu celu_ leaky_relu leaky_relu_ rrelu rrelu_ "
    "prelu softplus mish hardswish threshold neg negative __neg__ "
    "dropout dropout_ dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout",
    _squash: "tanh tanh_ sigmoid sigmoid_ hardtanh hardtanh_ relu6 hardsigmoid softsign",
    _ones: "erf",
    _gated: "glu",
    _softmax: "softmax",
    _log_softmax: "log_softmax logsigmoid",
    _norm: "layer_norm rms_norm",
    _group_norm: "group_norm",
    _batch_norm: "batch_norm instance_norm",
    _lookup: "embedding embedding_bag",
    _layer: "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
    _product: "mul multiply __mul__ __rmul__ matmul __matmul__ __rmatmul__ mm bmm mv dot einsum",
    _product_in_place: "mul_ __imul__",
    _quotient: "div divide true_divide __truediv__ div_ __itruediv__",
    _sum: "add __add__ __radd__",
    _sum_in_place: "add_ __iadd__",
    _difference: "sub subtract __sub__ rsub __rsub__",
    _difference_in_place: "sub_ __isub__",
    _product_and_sum: "addmm baddbmm",
    _detached: "sqrt rsqrt reciprocal norm vector_norm linalg_vector_norm",
    _deviation: "std var",
    _cast: "to float double half bfloat16 type type_as",
    attention: "scaled_dot_product_attention",
}
"""The replacements, each with the names of the torch functions and methods that it replaces."""

SHADOWS = {name: function for function, names in SHADOW_NAMES.items() for name in names.split()}
