"""Patches: the inputs that a convolution multiplies, unfolded to rows.

Shapes: N examples, P places of the kernel, I input channels, K weights of a kernel on one channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)

ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")

NUMBERS_AT_ONCE = 1 << 24
"""Unfolded numbers that are in memory together: 64 MiB; or those of one example, if these are more."""


def unfolded(arguments: dict[str, Any]) -> Iterator[tuple[slice, Tensor]]:
    """The rows that each group of a convolution multiplies: its output channels, and [N * P, I * K].

    `arguments` are those of `torch.conv1d`, `conv2d` or `conv3d`, by name. Columns are in the order of
    `weight.flatten(1)`. Zeros that pad the input are inputs: the convolution multiplies them.
    """
    x, weight, groups = arguments["input"], arguments["weight"], arguments.get("groups", 1)
    kernel = tuple(weight.shape[2:])
    x = x if x.ndim == weight.ndim else x[None]
    stride, dilation = (_each(arguments.get(name, 1), len(kernel)) for name in ("stride", "dilation"))
    x = F.pad(x, _margins(arguments.get("padding", 0), kernel, dilation))
    outputs, inputs = len(weight) // groups, weight.shape[1]
    places = x[0].numel() // max(1, len(x[0])) * weight[0, 0].numel()  # at least as many
    for part in torch.split(x, max(1, NUMBERS_AT_ONCE // max(1, places * x.shape[1]))):
        patches_NPIK = _patches(part, kernel, stride, dilation)
        for group in range(groups):
            own = patches_NPIK[:, :, group * inputs : (group + 1) * inputs]
            yield slice(group * outputs, (group + 1) * outputs), own.flatten(2).flatten(0, 1)


def _patches(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """All patches of a padded input [N, I, ...], as [N, P, I, K]."""
    for d, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True), 2):
        x = x.unfold(d, (size - 1) * gap + 1, step)[..., ::gap]
    places, weights = range(2, 2 + len(kernel)), range(2 + len(kernel), 2 + 2 * len(kernel))
    return x.permute(0, *places, 1, *weights).flatten(len(kernel) + 2).flatten(1, len(kernel))


def _margins(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Zeros before and after each dimension, the last dimension first, as `F.pad` takes them."""
    if padding == "valid":
        padding = 0
    if padding == "same":
        totals = [gap * (size - 1) for size, gap in zip(kernel, dilation, strict=True)]
        return [margin for total in reversed(totals) for margin in (total // 2, total - total // 2)]
    return [margin for both in reversed(_each(padding, len(kernel))) for margin in (both, both)]


def _each(value: int | Sequence[int], dimensions: int) -> tuple[int, ...]:
    """One number for each dimension."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dimensions if len(values) == 1 else values
