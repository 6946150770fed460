"""N:M patterns: of every M consecutive weights of a row, N stay."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 1 << 20
"""Weights whose groups are sorted together, or one row if that is longer: bounds the extra memory."""


def grouped_count(shape: tuple[int, ...], n: int, m: int) -> int:
    """How many weights of a tensor of this shape the pattern keeps: a whole number in every group."""
    rows, columns = _rows(shape)
    full, rest = divmod(columns, m)
    return rows * (full * n + _share(rest, n, m))


@torch.no_grad()
def grouped(saliency: Tensor, n: int, m: int, within: Tensor | None = None) -> Tensor:
    """Mask of the `n` largest of every `m` consecutive weights of a row, True stays.

    A row is `tensor.reshape(shape[0], -1)[i]`: all that leads to one output. A last group of r < m
    weights keeps ceil(r n / m). Of equal weights that of the lower index stays. A group in which
    fewer are alive in `within` keeps just those.
    """
    rows, columns = _rows(tuple(saliency.shape))
    mask = torch.zeros(rows, columns, dtype=torch.bool, device=saliency.device)
    full = columns - columns % m
    step = max(1, BLOCK // max(1, columns))
    for start in range(0, rows, step):
        for part, width, keep in (
            (slice(0, full), m, n),
            (slice(full, columns), columns - full, _share(columns - full, n, m)),
        ):
            at = (slice(start, start + step), part)
            if mask[at].numel():
                values = saliency.reshape(rows, columns)[at].reshape(-1, width)
                alive = None if within is None else within.reshape(rows, columns)[at].reshape(-1, width)
                mask[at] = _largest_of_each(values, keep, alive).view(mask[at].shape)
    return mask.view(saliency.shape)


def _largest_of_each(values_GM: Tensor, keep: int, alive_GM: Tensor | None) -> Tensor:
    """Mask of the `keep` largest alive values of each row.  G groups, M weights of one."""
    order_GM = values_GM.argsort(dim=1, descending=True, stable=True)
    if alive_GM is not None:  # the living first, and in the order they have among themselves
        dead_GM = ~alive_GM.gather(1, order_GM)
        order_GM = order_GM.gather(1, dead_GM.to(torch.uint8).argsort(dim=1, stable=True))
    mask_GM = torch.zeros_like(values_GM, dtype=torch.bool).scatter_(1, order_GM[:, :keep], True)
    return mask_GM if alive_GM is None else mask_GM & alive_GM


def groups(tensor: Tensor, m: int) -> list[Tensor]:
    """Views of a tensor's groups of one size each, the last dimension a group; a row's rest comes last."""
    rows, columns = _rows(tuple(tensor.shape))
    flat, full = tensor.view(rows, columns), columns - columns % m
    parts = [flat[:, :full].view(rows, full // m, m)] if full else []
    return parts + ([flat[:, None, full:]] if full < columns else [])


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """A shape as rows and columns: the first dimension, and all others as one."""
    columns = 1
    for size in shape[1:]:
        columns *= size
    return (shape[0] if shape else 1), columns


def _share(size: int, n: int, m: int) -> int:
    """How many of a group of `size` weights stay, rounded up."""
    return -(-size * n // m)
