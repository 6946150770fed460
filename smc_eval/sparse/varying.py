"""What of a traced value differs between positions, and where a dimension is in a product or a new shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

Function = Callable[..., Any]

SAME_VALUE = 1e-9
"""Constants of two positions that differ relatively by less are equal, up to rounding."""

ELEMENTWISE = frozenset(["mul", "multiply", "__mul__", "__rmul__"])
"""Names of products of two elements."""


def dual(terms: Tensor, moving: Tensor) -> Tensor:
    """A traced value of all of its terms and its moving terms."""
    return cast("Tensor", forward_ad.make_dual(terms, moving))  # type: ignore[no-untyped-call]


def moving_terms(x: Any) -> Tensor | None:
    """The moving terms of a value; None if there are none."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return None
    return cast("Tensor | None", forward_ad.unpack_dual(x).tangent)  # type: ignore[no-untyped-call]


def generic(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Positive numbers around 1, all different."""
    numbers = torch.arange(1, math.prod(shape) + 1, dtype=dtype, device=device)
    return ((numbers * GOLDEN_RATIO).frac() + 0.5).view(*shape)


GOLDEN_RATIO = (5**0.5 - 1) / 2
"""Its multiples modulo 1 are all different."""


def varying(value: Tensor, positions: int) -> Tensor | None:
    """The terms of a value that differ between positions, a dimension; None if there are none.

    Moving terms do. Constants do if their numbers do, or if they stand beside moving terms of another
    position.
    """
    moving = moving_terms(value)
    fixed = torch.ones_like(value, dtype=torch.bool) if moving is None else moving == 0
    if moving is not None and not bool(fixed.any()):
        return dual(moving, moving)
    differ = fixed & (unlike(value, positions) | ~fixed.all(positions, keepdim=True))
    if moving is None:
        return torch.where(differ, value, 0) if bool(differ.any()) else None
    return torch.where(differ, value, dual(moving, moving))


def unlike(value: Tensor, positions: int, open_: Tensor | None = None) -> Tensor:
    """Where the numbers of open positions are not all the same, up to rounding."""
    numbers = value.detach()
    high, low = (
        (numbers, numbers)
        if open_ is None
        else (
            torch.where(open_, numbers, -torch.inf),
            torch.where(open_, numbers, torch.inf),
        )
    )
    high, low = high.amax(positions, keepdim=True), low.amin(positions, keepdim=True)
    return high - low > SAME_VALUE * high.abs()


def last_places(func: Function, args: Sequence[Any]) -> tuple[int, int] | None:
    """The dimensions of both factors that are the last two of a product of matrices."""
    if func.__name__ == "einsum":
        spec = str(args[0]).replace(" ", "")
        left, _, right = spec.partition("->")[0].partition(",")
        row, column = (spec[-2], spec[-1]) if "->" in spec else (" ", " ")
        if row in left and row not in right and column in right and column not in left:
            return left.index(row) - len(left), right.index(column) - len(right)
        return None
    if len(args) != 2 or any(not isinstance(x, Tensor) or x.ndim < 2 for x in args):
        return None
    return -2, -1


def summed_place(func: Function, args: Sequence[Any], dim: int, *, second: bool) -> int | None:
    """The dimension of the other factor that shares are multiplied with, and added up over."""
    if func.__name__ in ELEMENTWISE:
        return dim
    if func.__name__ == "einsum":
        left, _, right = str(args[0]).replace(" ", "").partition("->")[0].partition(",")
        own, other = (right, left) if second else (left, right)
        letter = own[dim]
        return other.index(letter) - len(other) if letter in other else None
    if second:
        return -1 if dim == -2 or args[1].ndim == 1 else None
    return max(-2, -args[1].ndim) if dim == -1 else None


def new_place(change: Callable[[Tensor], Tensor], shape: Sequence[int], dim: int) -> int | None:
    """Where a dimension is after a change of shape, counted from the end; None if it is nowhere."""
    if shape[dim] == 1:
        return None
    lone = [1] * len(shape)
    lone[dim] = shape[dim]
    result = change(
        torch.arange(float(shape[dim]), dtype=torch.float64).view(lone).expand(shape).contiguous()
    )
    for place in range(-result.ndim, 0):
        if result.shape[place] > 1 and bool((result.select(place, 0) != result.select(place, 1)).any()):
            return place
    return None
