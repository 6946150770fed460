"""Tracing: a net runs on sums of products of positive numbers, and each value knows what an input moves.

A traced value is a pair of polynomials in the weights without negative terms: all of its terms, and its
moving terms, those that have an input as a factor. The second is the tangent of torch's forward
differentiation, so every function of torch keeps the pair. No term cancels, so a zero is exact.

- Inputs are the floats from outside the model, the rows that are looked up in a table, and what layers read.
- A function with a second derivative is x + x² at all places, so a constant shifts what an input moves
  there. A piecewise linear one is x: it has no second derivative where it has one at all.
- Shares of a softmax add up to 1. So they pass only differences of their values between positions.
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
from torch.utils.weak import WeakTensorKeyDictionary

from smc_eval.sparse.gates import curved, half_open, traced_cell, traced_layer
from smc_eval.sparse.shadow import MASKING_VALUE, Shadowing
from smc_eval.sparse.traced_functions import TRACED_FUNCTIONS
from smc_eval.sparse.varying import (
    ELEMENTWISE,
    Function,
    dual,
    last_places,
    moving_terms,
    new_place,
    summed_place,
    unlike,
    varying,
)

LAYERS = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
RESHAPING = (
    "view reshape transpose permute unsqueeze squeeze expand flatten unflatten contiguous clone swapaxes "
    "movedim to float double half bfloat16 type type_as dropout __getitem__ view_as expand_as repeat narrow"
)
"""Functions that move the elements of a softmax, and leave each as it is."""
CASTS = frozenset(["to", "float", "double", "half", "bfloat16", "type", "type_as"])


def _load_formulas() -> None:
    """Load torch's formulas of forward differentiation; they warn of a deprecation of torch's own."""
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
        """Results of a softmax, each with its uniform part, the part that scores move, and its dimension."""
        self._scores = WeakTensorKeyDictionary()
        """Products of two traced values: for each of the last dimensions the differences along it."""
        for module in model.modules():
            own = (*vars(module).values(), *module.buffers(recurse=False))
            self._constants.update({each: True for each in own if isinstance(each, Tensor)})
            if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
                module.forward = partial(self._recurrent, module)
        named: dict[Function, str] = {
            self._attention: "scaled_dot_product_attention",
            self._softmax: "softmax",
            self._layer: LAYERS,
            self._lookup: "embedding embedding_bag",
            self._chosen: "__getitem__ index_select gather take take_along_dim",
            self._masked: "masked_fill masked_fill_ where",
            self._moved: RESHAPING.replace("__getitem__ ", ""),
            self._product: "mul multiply __mul__ __rmul__",
            self._matrix_product: "matmul __matmul__ __rmatmul__ mm bmm mv dot einsum",
            self._product_and_sum: "addmm baddbmm addmv addbmm",
            self._quotient: "div divide true_divide __truediv__ div_ __itruediv__",
            self._sum: "add __add__ __radd__ sub subtract __sub__ rsub __rsub__",
            self._sum_in_place: "add_ __iadd__ sub_ __isub__",
        }
        replaced = {name: function for function, names in named.items() for name in names.split()}
        super().__init__(TRACED_FUNCTIONS | replaced)

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
        return dual(ones.clone().requires_grad_(), ones)

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
        return dual(row, row).expand(shape)

    def _chosen(self, func: Function, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Elements of a tensor. Rows that ids from outside choose are looked up."""
        result = self._moved(func, x, *args, **kwargs)
        places = [y for y in _flat((*args, *kwargs.values())) if isinstance(y, Tensor)]
        outside = [y for y in places if y.dtype != torch.bool and y not in self._constants]
        if not outside or not isinstance(result, Tensor) or moving_terms(x) is not None:
            return result
        return dual(result, result)

    def _moved(self, func: Function, x: Any, *args: Any, **kwargs: Any) -> Any:
        if func.__name__ in CASTS:  # values that depend on weights keep their float type
            kept = func(x.detach(), *args, **kwargs)
            result = x if kept.is_floating_point() else kept
        elif func.__name__ == "dropout":
            result = x
        else:
            result = func(x, *args, **kwargs)
        if isinstance(x, Tensor) and isinstance(result, Tensor) and result is not x:
            self._follow(x, result, lambda y: cast("Tensor", func(y, *args, **kwargs)))
        return result

    def _follow(self, x: Tensor, result: Tensor, change: Callable[[Tensor], Tensor]) -> None:
        """Note of a changed value what was noted of the value itself."""
        if x in self._shares:
            uniform, moved, dim = self._shares[x]
            new = new_place(change, x.shape, dim)
            if new is not None:
                self._shares[result] = (change(uniform), change(moved), new)
        if x in self._scores:
            places = {new_place(change, x.shape, dim): part for dim, part in self._scores[x].items()}
            self._scores[result] = {
                dim: (lambda part=part: change(part())) for dim, part in places.items() if dim is not None
            }

    def _masked(self, func: Function, *args: Any, **kwargs: Any) -> Any:
        """Values of which some are masked."""
        result = func(*args, **kwargs)
        for x in args:
            if isinstance(x, Tensor) and x in self._scores and x.shape == result.shape:
                self._scores[result] = self._scores[x]
        return result

    def _differing(self, x: Tensor, dim: int, open_: Tensor) -> Tensor:
        """The terms of scores that differ between the open positions."""
        parts = self._scores[x] if x in self._scores else {}  # noqa: SIM401 - get has no types
        if dim in parts:
            return cast("Tensor", parts[dim]())
        moving = moving_terms(x)
        differ = unlike(x, dim, open_)
        return torch.where(differ if moving is None else differ | (moving != 0), x, 0)

    def _softmax(self, _: Any, x: Tensor, dim: int | None = None, *__: Any, **___: Any) -> Tensor:
        """Shares: of each row the same for all positions that are not masked.

        They are moved by differences between its scores: a summand of all has no effect.
        """
        dim = -1 if dim is None else dim if dim < 0 else dim - x.ndim
        open_ = x >= 0
        uniform = _uniform(open_, dim, x.dtype)
        differing = torch.where(open_, self._differing(x, dim, open_), 0)
        moved = uniform * _several(differing.sum(dim, keepdim=True), open_.sum(dim, keepdim=True))
        shares = uniform + moved
        self._shares[shares] = (uniform, moved, dim)
        return shares

    def _attention(
        self, _: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Attention: a row's shares are all moved by differences between its scores."""
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
        uniform = _uniform(open_, -1, value.dtype)
        keys, varied, result = varying(key, -2), varying(value, -2), uniform @ value
        total = query.new_zeros(*query.shape[:-1], 1)
        if keys is not None:
            total = (query * (uniform @ keys)).sum(-1, keepdim=True)
        if mask is not None and mask.requires_grad:
            differing = torch.where(open_, self._differing(mask, -1, open_), 0)
            total = total + differing.sum(-1, keepdim=True)
        if varied is None:
            return result
        return result + _several(total, open_.sum(-1, keepdim=True)) * (uniform @ varied)

    def _product(self, func: Function, *args: Any, **kwargs: Any) -> Tensor:
        """A product. A factor of 0s and 1s is an input if no input moves the other factors."""
        places = [*_flat(args), *_flat(kwargs.values())]
        like: Tensor = next(x for x in places if isinstance(x, Tensor) and x.requires_grad)
        moving = any(moving_terms(x) is not None for x in places)

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

    def _matrix_product(self, func: Function, *args: Any, **kwargs: Any) -> Tensor:
        result = self._product(func, *args, **kwargs)
        if any(isinstance(x, nn.Parameter) for x in args[-1:]) and args[-1].ndim > 2:
            return result
        places = last_places(func, args)
        if places is not None and all(isinstance(x, Tensor) and x.requires_grad for x in args[-2:]):
            left, right = args[-2:]
            first = args[:-2]

            def with_rows() -> Tensor:
                rows = varying(left, places[0])
                return result.new_zeros(result.shape) if rows is None else func(*first, rows, right)

            def with_columns() -> Tensor:
                columns = varying(right, places[1])
                return result.new_zeros(result.shape) if columns is None else func(*first, left, columns)

            self._scores[result] = {-2: with_rows, -1: with_columns}
        return result

    def _shared(self, func: Function, args: list[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """A product, of which a factor may be shares."""
        place = next((n for n, x in enumerate(args) if isinstance(x, Tensor) and x in self._shares), None)
        factors = [x for x in args if isinstance(x, (Tensor, int, float))]
        if place is None or len(factors) != 2:
            return cast("Tensor", func(*args, **kwargs))
        shares = args[place]
        uniform, moved, dim = self._shares[shares]
        second = shares is factors[1]
        other = factors[0] if second else factors[1]

        def product(share: Tensor, value: Any) -> Tensor:
            pair = (value, share) if second else (share, value)
            return cast("Tensor", func(*(x for x in args if isinstance(x, str)), *pair, **kwargs))

        result = product(shares, other)
        if not isinstance(other, Tensor) or not other.requires_grad:
            if func.__name__ in ELEMENTWISE:
                self._shares[result] = (product(uniform, other), product(moved, other), dim)
            return result
        positions = summed_place(func, args, dim, second=second)
        if positions is None:
            return result
        varied, flow = varying(other, positions), product(uniform, other)
        return flow if varied is None else flow + product(moved, varied)

    def _product_and_sum(
        self, _: Any, start: Any, left: Tensor, right: Tensor, *__: Any, **___: Any
    ) -> Tensor:
        return cast("Tensor", self._term(start, right) + self._product(torch.matmul, left, right))

    def _quotient(self, func: Function, x: Any, y: Any, **kwargs: Any) -> Tensor:
        if isinstance(y, Tensor) and y.requires_grad:
            return self._product(torch.mul, x, half_open(y))
        y = y.abs() if isinstance(y, Tensor) else abs(y)
        result = func(x, torch.where(y == 0, 1, y) if isinstance(y, Tensor) else y, **kwargs)
        if isinstance(x, Tensor) and result.shape == x.shape:
            self._follow(x, result, lambda part: part / y)
        return cast("Tensor", result)

    def _sum(self, func: Function, x: Any, y: Any, alpha: float = 1) -> Tensor:
        """A sum; a difference is one, too."""
        minus = "sub" in func.__name__
        if "rsub" in func.__name__:
            x, y = y, x
        like = x if isinstance(x, Tensor) and x.requires_grad else y
        left, right = self._term(x, like), self._term(y, like, minus=minus)
        left, right = (left, right) if isinstance(left, Tensor) else (right, left)
        result = torch.add(left, right, alpha=abs(alpha))
        self._follow_sum(left, right, result)
        return result

    def _follow_sum(self, left: Tensor, right: Any, result: Tensor) -> None:
        """The difference between values of a sum is the sum of the differences of its parts."""
        parts = [x for x in (left, right) if isinstance(x, Tensor) and x.requires_grad]
        dims = {dim for x in parts if x in self._scores for dim in self._scores[x]}

        def differing(dim: int) -> Tensor:
            every = torch.ones((), dtype=torch.bool, device=result.device)
            terms = [self._differing(x, dim, every.expand(x.shape)) for x in parts if x.shape[dim] > 1]
            return sum(terms[1:], terms[0]).expand(result.shape)

        if dims:
            self._scores[result] = {dim: partial(differing, dim) for dim in dims}

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


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    """Values, and the values in lists and tuples."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _uniform(open_: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """The same share for each position that is not masked."""
    return open_.to(dtype) / open_.sum(dim, keepdim=True).clamp(min=1)


def _several(total: Tensor, count: Tensor) -> Tensor:
    """How far scores move shares: not at all where there is one position."""
    return torch.where(count > 1, curved(total), 0)
