"""Tracing: a net runs on sums of products of positive numbers, and each value knows what an input moves.

A traced value is a pair of polynomials in the weights without negative terms: all of its terms, and its
moving terms, those that have an input as a factor. The second is the tangent of torch's forward
differentiation, so every function of torch keeps the pair. No term cancels, so a zero is exact.

- Inputs are the floats from outside the model, the rows that are looked up in a table, and what layers read.
- A function with a second derivative is x + x² at all places, so a constant shifts what an input moves
  there. A piecewise linear one is x: it has no second derivative where it has one at all.
- Shares of a softmax add up to 1. So they pass of their values only what differs between positions.
- The mean and deviation of a norm are constants: they make no path between units.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.weak import WeakTensorKeyDictionary

from smc_eval.sparse.gates import curved, half_open, traced_cell, traced_layer
from smc_eval.sparse.shadow import MASKING_VALUE, Shadowing, positive
from smc_eval.sparse.unrolled import over_mean

Function = Callable[..., Any]

SAME_VALUE = 1e-9
"""Constants of two positions that differ relatively by less are equal, up to rounding."""

LAYERS = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
SHAPES = (
    "view reshape transpose permute unsqueeze squeeze expand flatten unflatten contiguous clone swapaxes "
    "movedim to float double half bfloat16 type type_as dropout __getitem__ view_as expand_as repeat narrow"
)
"""Functions that move the elements of a softmax, and leave each as it is."""


def _load_formulas() -> None:
    """Load torch's formulas of forward differentiation; on loading they warn of a deprecation of torch's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import_module("torch._decomp.decompositions_for_jvp")


class Tracing(Shadowing):
    """Within, torch's functions are those of the traced net."""

    def __init__(self, model: nn.Module) -> None:
        _load_formulas()
        self._constants = WeakTensorKeyDictionary()
        """Tensors that are no input: those of the model, and what is made of them alone."""
        self._codes = WeakTensorKeyDictionary()
        """Floats that are made of numbers such as ids, and floats that are all 0 or 1."""
        self._shares = WeakTensorKeyDictionary()
        """Results of a softmax, each with its uniform part and the part that scores move."""
        for module in model.modules():
            own = (*vars(module).values(), *module.buffers(recurse=False))
            self._constants.update({each: True for each in own if isinstance(each, Tensor)})
            if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
                module.forward = partial(self._recurrent, module)
        named: dict[Function, str] = {
            _same: "relu relu_ relu6 hardtanh hardtanh_ leaky_relu leaky_relu_ rrelu prelu threshold "
            "clamp clamp_ clip clip_ neg negative __neg__ abs",
            _curved: "gelu silu elu elu_ selu selu_ celu celu_ mish hardswish tanh tanh_ softsign sin erf",
            _half_open: "sigmoid sigmoid_ hardsigmoid softplus exp cos log log1p reciprocal",
            _gated: "glu",
            _power: "pow __pow__",
            _log_softmax: "log_softmax logsigmoid",
            _layer_norm: "layer_norm",
            _group_norm: "group_norm",
            _batch_norm: "batch_norm",
            _instance_norm: "instance_norm",
            _mean: "mean",
            _highest: "amax amin max min maximum minimum",
            _loss: "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss kl_div ctc_loss "
            "binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss",
            _packed: "_pack_padded_sequence",
            self._attention: "scaled_dot_product_attention",
            self._softmax: "softmax",
            self._layer: LAYERS,
            self._lookup: "embedding embedding_bag",
            self._chosen: "__getitem__ index_select gather take take_along_dim",
            self._moved: SHAPES.replace("__getitem__ ", ""),
            self._product: "mul multiply __mul__ __rmul__",
            self._matrix_product: "matmul __matmul__ __rmatmul__ mm bmm mv dot einsum",
            self._product_and_sum: "addmm baddbmm addmv addbmm",
            self._quotient: "div divide true_divide __truediv__ div_ __itruediv__",
            self._sum: "add __add__ __radd__ sub subtract __sub__ rsub __rsub__",
            self._sum_in_place: "add_ __iadd__ sub_ __isub__",
        }
        super().__init__({name: function for function, names in named.items() for name in names.split()})

    def __torch_function__(
        self,
        func: Function,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        args, kwargs = self._seen(args), {name: self._seen(x) for name, x in (kwargs or {}).items()}
        result = super().__torch_function__(func, types, args, kwargs)
        tensors = [x for x in _flat((*args, *kwargs.values())) if isinstance(x, Tensor)]
        self._mark(result, tensors)
        return result

    def data_like(self, like: Tensor) -> Tensor:
        """Inputs of this shape: 1 everywhere, and an input moves each."""
        double = torch.float32 if like.device.type == "mps" else torch.float64
        ones = torch.ones(like.shape, dtype=double, device=like.device)
        return forward_ad.make_dual(ones.clone().requires_grad_(), ones)

    def _seen(self, x: Any) -> Any:
        """An argument; floats from outside the model become inputs."""
        if isinstance(x, (list, tuple)) and type(x) in {list, tuple}:
            return type(x)(self._seen(each) for each in x)
        if not isinstance(x, Tensor) or x.requires_grad or not x.is_floating_point():
            return x
        if x in self._constants or x in self._codes:
            return x
        if x.ndim == 0 or bool((x <= MASKING_VALUE).any()):
            self._constants[x] = True
        elif bool(((x == 0) | (x == 1)).all()):
            self._codes[x] = True
        else:
            return self.data_like(x)
        return x

    def _mark(self, result: Any, args: Sequence[Tensor]) -> None:
        """Note what a value that depends on no weight is made of."""
        inner = all(x.requires_grad or x in self._constants for x in args)
        for each in _flat((result,)):
            if not isinstance(each, Tensor) or each.requires_grad:
                continue
            if inner:
                self._constants[each] = True
            elif each.is_floating_point():
                masking = bool((each <= MASKING_VALUE).any())
                (self._constants if masking else self._codes)[each] = True

    def _recurrent(self, layer: Any, inputs: Any, hx: Any = None) -> Any:
        function = traced_cell if isinstance(layer, nn.RNNCellBase) else traced_layer
        rows = inputs if isinstance(inputs, Tensor) else inputs.data
        if not rows.requires_grad:
            rows = self.data_like(rows)
        first = self._seen(hx)
        return function(layer, rows if isinstance(inputs, Tensor) else inputs._replace(data=rows), first)

    def _layer(self, func: Function, x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        inputs = x.to(weight.dtype) if x.requires_grad else self.data_like(x)
        return cast("Tensor", func(inputs, weight, *args, **kwargs))

    def _lookup(self, func: Function, ids: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The mean row of the table, whatever is looked up."""
        if not weight.requires_grad:  # then only the sample weights of a bag do
            return cast("Tensor", func(ids, weight, *args, **kwargs))
        shape = func(ids, weight.detach(), *args, **kwargs).shape
        row = weight.mean(0)
        return forward_ad.make_dual(row, row).expand(shape)

    def _chosen(self, func: Function, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Elements of a tensor. Rows that ids from outside choose are looked up."""
        result = self._moved(func, x, *args, **kwargs)
        places = [y for y in _flat((*args, *kwargs.values())) if isinstance(y, Tensor)]
        outside = [y for y in places if y.dtype != torch.bool and y not in self._constants]
        if not outside or not isinstance(result, Tensor) or _moving(x) is not None:
            return result
        return forward_ad.make_dual(result, result)

    def _moved(self, func: Function, x: Any, *args: Any, **kwargs: Any) -> Any:
        if func.__name__ in CASTS:  # values that depend on weights keep their float type
            kept = func(x.detach(), *args, **kwargs)
            result = x if kept.is_floating_point() else kept
        elif func.__name__ == "dropout":
            result = x
        else:
            result = func(x, *args, **kwargs)
        if isinstance(x, Tensor) and x in self._shares and isinstance(result, Tensor) and result is not x:
            self._shares[result] = tuple(func(part, *args, **kwargs) for part in self._shares[x])
        return result

    def _softmax(self, _: Any, x: Tensor, dim: int | None = None, *__: Any, **___: Any) -> Tensor:
        """Shares: of each row the same for all positions that are not masked, moved by all its scores."""
        dim = -1 if dim is None else dim
        open_ = x >= 0
        uniform = _uniform(open_, dim)
        total = torch.where(open_, x, 0).sum(dim, keepdim=True)
        moved = uniform * _several(total, open_.sum(dim, keepdim=True))
        shares = uniform + moved
        self._shares[shares] = (uniform, moved)
        return shares

    def _attention(
        self, _: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Attention: a row's shares are all moved by the sum of its scores."""
        options = dict(zip(("attn_mask", "dropout_p", "is_causal"), args, strict=False)) | kwargs
        query, key, value = (x if x.requires_grad else self.data_like(x) for x in (query, key, value))
        if options.get("enable_gqa"):
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
        open_ = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device)
        if options.get("is_causal"):
            open_ = open_.tril()
        mask = options.get("attn_mask")
        if mask is not None:
            open_ = open_ & (mask if mask.dtype == torch.bool else mask > MASKING_VALUE)
        uniform = _uniform(open_, -1).to(value.dtype)
        total = (query * (uniform @ key)).sum(-1, keepdim=True)
        if mask is not None and mask.requires_grad:
            total = total + torch.where(open_, mask, 0).sum(-1, keepdim=True)
        result = uniform @ value
        varied = _varying(value, -2)
        if varied is None:
            return result
        return result + _several(total, open_.sum(-1, keepdim=True)) * (uniform @ varied)

    def _product(self, func: Function, *args: Any, **kwargs: Any) -> Tensor:
        """A product. A factor of 0s and 1s is an input if no input moves the other factors."""
        places = [*_flat(args), *_flat(kwargs.values())]
        like: Tensor = next(x for x in places if isinstance(x, Tensor) and x.requires_grad)
        moving = any(_moving(x) is not None for x in places)

        def factor(x: Any) -> Any:
            if isinstance(x, (list, tuple)):
                return type(x)(factor(each) for each in x)
            if not isinstance(x, Tensor):
                return abs(x) if isinstance(x, (int, float)) else x
            if x.requires_grad or x.dtype == torch.bool:
                return x
            if x in self._codes and not moving and x.ndim:
                return self.data_like(x)
            return x.abs().to(like.dtype) if x.is_floating_point() else x.abs()

        return self._shared(func, [factor(x) for x in args], {name: factor(x) for name, x in kwargs.items()})

    _matrix_product = _product

    def _shared(self, func: Function, args: list[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """A product, of which a factor may be shares."""
        flat = list(_flat(args))
        place = next((n for n, x in enumerate(flat) if isinstance(x, Tensor) and x in self._shares), None)
        factors = [x for x in flat if isinstance(x, Tensor)]
        if place is None or len(factors) != 2 or len(flat) != len(list(args)):  # noqa: PLR2004 - two factors
            return cast("Tensor", func(*args, **kwargs))
        uniform, moved = self._shares[flat[place]]
        other = next(x for x in factors if x is not flat[place])

        def product(share: Tensor, value: Tensor) -> Tensor:
            return cast(
                "Tensor",
                func(*(share if n == place else value if x is other else x for n, x in enumerate(flat)), **kwargs),
            )

        if not other.requires_grad:
            result = product(flat[place], other)
            self._shares[result] = (product(uniform, other), product(moved, other))
            return result
        matrices = func.__name__ in {"matmul", "__matmul__", "bmm", "mm"}
        varied = _varying(other, (-2 if factors[0] is not other else -1) if matrices else None)
        flow = product(uniform, other)
        return flow if varied is None else flow + product(moved, varied)

    def _product_and_sum(
        self, _: Any, start: Any, left: Tensor, right: Tensor, *__: Any, **___: Any
    ) -> Tensor:
        return cast("Tensor", self._term(start, right) + self._product(torch.matmul, left, right))

    def _quotient(self, func: Function, x: Any, y: Any, **kwargs: Any) -> Tensor:
        if isinstance(y, Tensor) and y.requires_grad:
            return cast("Tensor", self._product(torch.mul, x, half_open(y)))
        y = y.abs() if isinstance(y, Tensor) else abs(y)
        result = func(x, torch.where(y == 0, 1, y) if isinstance(y, Tensor) else y, **kwargs)
        if x in self._shares:
            self._shares[result] = tuple(part / y for part in self._shares[x])
        return cast("Tensor", result)

    def _sum(self, func: Function, x: Any, y: Any, alpha: float = 1) -> Tensor:
        """A sum; a difference is one, too."""
        minus = "sub" in func.__name__
        if "rsub" in func.__name__:
            x, y = y, x
        like = x if isinstance(x, Tensor) and x.requires_grad else y
        left, right = self._term(x, like), self._term(y, like, minus=minus)
        left, right = (left, right) if isinstance(left, Tensor) else (right, left)
        return torch.add(left, right, alpha=abs(alpha))

    def _sum_in_place(self, func: Function, x: Tensor, y: Any, alpha: float = 1) -> Tensor:
        return x.add_(self._term(y, x, minus="sub" in func.__name__), alpha=abs(alpha))

    def _term(self, x: Any, like: Tensor, *, minus: bool = False) -> Any:
        """A summand: positive, unless it masks."""
        if not isinstance(x, Tensor):
            x = -x if minus else x
            return x if x <= MASKING_VALUE else abs(x)
        if x.requires_grad or x.dtype == torch.bool:
            return x
        if x in self._codes and x.ndim:
            return self.data_like(x)
        x = -x if minus else x
        return torch.where(x <= MASKING_VALUE, x, x.abs()).to(like.dtype)


CASTS = frozenset("to float double half bfloat16 type type_as".split())


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    """Values, and the values in lists and tuples."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _moving(x: Any) -> Tensor | None:
    """The moving terms of a value; None if there are none."""
    return forward_ad.unpack_dual(x).tangent if isinstance(x, Tensor) and x.is_floating_point() else None


def _varying(value: Tensor, positions: int | None) -> Tensor | None:
    """The terms of a value that differ between positions; None if there are none.

    Moving terms do. Constants do if their numbers do, or if they stand beside moving terms of another
    position; `positions` is their dimension, where it is known.
    """
    moving = _moving(value)
    if positions is None:
        return None if moving is None else forward_ad.make_dual(moving, moving)
    fixed = torch.ones_like(value, dtype=torch.bool) if moving is None else moving == 0
    low, high = value.detach().amin(positions, True), value.detach().amax(positions, True)
    some = fixed.any(positions, True) & ((high - low > SAME_VALUE * high) | ~fixed.all(positions, True))
    if moving is None:
        return torch.where(some, value, 0) if bool(some.any()) else None
    twice = forward_ad.make_dual(moving, moving)
    return torch.where(fixed & some, value, twice) if bool(some.any()) else twice


def _uniform(open_: Tensor, dim: int) -> Tensor:
    """The same share for each position that is not masked."""
    return open_.double() / open_.sum(dim, keepdim=True).clamp(min=1)


def _several(total: Tensor, count: Tensor) -> Tensor:
    """How far scores move shares: not at all where there is one position."""
    return torch.where(count > 1, curved(total, tuple(range(total.ndim))), 0)


def _same(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    return x


def _curved(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    return curved(x)


def _half_open(_: Any, x: Tensor, *__: Any, **___: Any) -> Tensor:
    return half_open(x)


def _gated(_: Any, x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * half_open(gate, dim)


def _power(func: Function, x: Any, exponent: Any) -> Any:
    """A root is part of a norm that is written out: a constant."""
    if not isinstance(exponent, (int, float)) or not isinstance(x, Tensor):
        return half_open(exponent if isinstance(exponent, Tensor) and exponent.requires_grad else x)
    if abs(exponent) == 0.5:  # noqa: PLR2004 - a root
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
    _: Any, x: Tensor, shape: Sequence[int], weight: Any = None, bias: Any = None, *__: Any, **___: Any
) -> Tensor:
    return _scaled(over_mean(x, tuple(range(-len(shape), 0))), weight, bias)


def _group_norm(
    _: Any, x: Tensor, groups: int, weight: Any = None, bias: Any = None, *__: Any, **___: Any
) -> Tensor:
    return _channels(over_mean(x, tuple(range(1, x.ndim))), weight, bias)


def _batch_norm(
    _: Any, x: Tensor, mean: Any, var: Any, weight: Any = None, bias: Any = None, *__: Any, **___: Any
) -> Tensor:
    return _channels(over_mean(x, tuple(range(x.ndim))), weight, bias)


def _instance_norm(
    _: Any, x: Tensor, weight: Any = None, bias: Any = None, *__: Any, **___: Any
) -> Tensor:
    return _channels(over_mean(x, tuple(range(2, x.ndim))), weight, bias)


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
