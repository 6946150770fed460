"""Masks by row: N of every M consecutive weights stay, or equally many of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_COMPARED = 8
"""Values of a group that are compared in pairs; of more, the least that stays is looked for."""

MOST_SHARES = 4
"""How many numbers of weights rows may keep so that the least of each is looked for; else rows are sorted."""

BLOCK = 1 << 20
"""Weights whose groups are sorted together, or one row if that is longer. It bounds the extra memory."""


def grouped_count(shape: tuple[int, ...], n: int, m: int) -> int:
    """How many weights of a tensor of this shape the pattern keeps: a whole number in every group."""
    rows, columns = _rows(shape)
    full, rest = divmod(columns, m)
    return rows * (full * n + _share(rest, n, m))


def fits(mask: Tensor, n: int, m: int) -> bool:
    """Whether no group of a mask keeps more than the pattern allows."""
    rows, columns = _rows(tuple(mask.shape))
    flat = mask.reshape(rows, columns)
    whole = columns - columns % m
    full, rest = flat[:, :whole].reshape(-1, m), flat[:, whole:]
    return bool((full.sum(1) <= n).all()) and bool((rest.sum(1) <= _share(columns % m, n, m)).all())


@torch.no_grad()
def grouped(saliency: Tensor, n: int, m: int, within: Tensor | None = None) -> Tensor:
    """Mask of the `n` largest of every `m` consecutive weights of a row, True stays.

    A row is `tensor.reshape(shape[0], -1)[i]`: all weights of one output. A last group of r < m
    weights keeps ceil(r n / m). Of equal weights the one of lower index stays. A group with fewer
    True in `within` keeps just those.
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
                allowed = None if within is None else within.reshape(rows, columns)[at].reshape(-1, width)
                mask[at] = largest_of_each(values, keep, allowed).view(mask[at].shape)
    return mask.view(saliency.shape)


@torch.no_grad()
def rowwise(saliency: Tensor, keep: int, within: Tensor | None = None) -> Tensor:
    """Mask of the largest weights of each row, equally many of each, `keep` in all; True stays.

    A remainder goes to the first rows, one each. A row with fewer True in `within` than its share keeps
    them all, and the others share the rest. Of equal weights the one of lower index stays. `keep` must
    not exceed the number of True in `within`.
    """
    rows, columns = _rows(tuple(saliency.shape))
    mask = torch.zeros(rows, columns, dtype=torch.bool, device=saliency.device)
    allowed = None if within is None else within.reshape(rows, columns)
    ceilings_R = torch.full((rows,), columns) if allowed is None else allowed.count_nonzero(1).cpu()
    keep_R1 = _equal_shares(keep, ceilings_R).to(saliency.device)[:, None]
    step = max(1, BLOCK // max(1, columns))
    for start in range(0, rows, step):
        at = slice(start, start + step)
        values = saliency.reshape(rows, columns)[at]
        mask[at] = largest_of_each(values, keep_R1[at], None if allowed is None else allowed[at])
    return mask.view(saliency.shape)


def _equal_shares(total: int, ceilings_R: Tensor) -> Tensor:
    """`total` in equal whole shares, the first ones larger by 1, none above its ceiling."""
    shares_R = torch.zeros_like(ceilings_R)
    free_R = ceilings_R > 0
    while total:
        each, rest = divmod(total, int(free_R.count_nonzero()))
        full_R = free_R & (ceilings_R <= each)  # a ceiling equal to the share changes nothing
        if not bool(full_R.any()):
            shares_R[free_R] = each
            shares_R[free_R.nonzero()[:rest, 0]] += 1
            break
        shares_R[full_R] = ceilings_R[full_R]
        total -= int(ceilings_R[full_R].sum())
        free_R &= ~full_R
    return shares_R


def largest_of_each(values_GM: Tensor, keep: int | Tensor, within_GM: Tensor | None) -> Tensor:
    """Mask of the `keep` largest unpruned values of each row; `keep` is [G, 1] where rows differ.

    G groups, M weights of one. Of equal values the one of lower index stays. A row with fewer True in
    `within_GM` than its `keep` keeps them all.
    """
    if not values_GM.numel():
        return torch.zeros_like(values_GM, dtype=torch.bool)
    if within_GM is not None and bool(within_GM.all()):
        within_GM = None
    if isinstance(keep, int) and values_GM.shape[1] <= MOST_COMPARED:
        if within_GM is None:
            return _largest_by_rank(values_GM, keep)
        if bool(values_GM.amin() > -torch.inf):  # nothing unpruned ties with what is pruned
            return _largest_by_rank(values_GM.masked_fill(~within_GM, -torch.inf), keep) & within_GM
    elif values_GM.device.type == "cpu" and not bool(values_GM.amin().isnan()):
        shares = [keep] if isinstance(keep, int) else sorted(set(keep.flatten().tolist()))
        if len(shares) <= MOST_SHARES:
            return _largest_by_threshold(values_GM, keep, shares, within_GM)
    order_GM = values_GM.argsort(dim=1, descending=True, stable=True)
    if within_GM is not None:  # unpruned values first, in the order of `order_GM`
        pruned_GM = ~within_GM.gather(1, order_GM)
        order_GM = order_GM.gather(1, pruned_GM.to(torch.uint8).argsort(dim=1, stable=True))
    chosen_GM = (torch.arange(values_GM.shape[1], device=values_GM.device) < keep).expand_as(order_GM)
    mask_GM = torch.zeros_like(values_GM, dtype=torch.bool).scatter_(1, order_GM, chosen_GM)
    return mask_GM if within_GM is None else mask_GM & within_GM


def _largest_by_rank(values_GM: Tensor, keep: int, *, by_numpy: bool | None = None) -> Tensor:
    """The same where groups are small: each value counts those before it. Eight times as fast as to sort.

    On a CPU numpy does it, in half of torch's time.
    """
    by_numpy = values_GM.device.type == "cpu" if by_numpy is None else by_numpy
    count, mask_GM = (
        values_GM.shape[1],
        torch.empty(values_GM.shape, dtype=torch.bool, device=values_GM.device),
    )
    columns: list[Any]
    ranks: list[Any]
    byte: Any
    filled_GM: Any
    if by_numpy:
        columns = [np.ascontiguousarray(column) for column in _known_to_numpy(values_GM).numpy().T]
        ranks = [np.full(len(values_GM), count - 1 - i, dtype=np.uint8) for i in range(count)]
        byte, filled_GM = np.uint8, mask_GM.numpy()
    else:
        columns = [column.contiguous() for column in values_GM.unbind(1)]
        ranks = [
            torch.full_like(column, count - 1 - i, dtype=torch.uint8) for i, column in enumerate(columns)
        ]
        byte, filled_GM = torch.uint8, mask_GM
    for j in range(count):
        for i in range(j):
            before = (columns[i] >= columns[j]).view(byte)  # of equal ones the first
            ranks[j] += before
            ranks[i] -= before
    for i, rank in enumerate(ranks):
        filled_GM[:, i] = rank < keep
    return mask_GM


def _largest_by_threshold(
    values_GM: Tensor, keep: int | Tensor, shares: list[int], within_GM: Tensor | None
) -> Tensor:
    """The same by the least value of each row that stays. Several times as fast as to sort.

    `shares` are all values of `keep`. No value may be NaN.
    """
    width = values_GM.shape[1]
    values_GM = _known_to_numpy(values_GM)
    if within_GM is not None:
        values_GM = values_GM.masked_fill(~within_GM, -torch.inf)
    places = sorted({width - min(max(share, 1), width) for share in shares})
    parted_GM = torch.from_numpy(np.partition(values_GM.numpy(), places, axis=1))
    if isinstance(keep, int):
        least_G1 = parted_GM[:, places[0], None]
    else:
        least_G1 = parted_GM.gather(1, width - keep.clamp(1, width))
    mask_GM = values_GM >= least_G1
    if within_GM is not None:
        mask_GM &= within_GM
    if bool((mask_GM.count_nonzero(1)[:, None] > keep).any()):
        ties_GM = values_GM == least_G1
        mask_GM &= ~ties_GM
        if within_GM is not None:
            ties_GM &= within_GM
        ties_GM &= ties_GM.cumsum(1) <= keep - mask_GM.count_nonzero(1)[:, None]  # of equal values the first
        mask_GM |= ties_GM
    return mask_GM


def _known_to_numpy(values: Tensor) -> Tensor:
    """The same values in a type that numpy has, without rounding, and without a graph of gradients."""
    return values.detach() if values.dtype in {torch.float32, torch.float64} else values.detach().float()


def groups(tensor: Tensor, m: int) -> list[Tensor]:
    """Views of a tensor's groups, one view for each size of group; the last dimension is a group."""
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
