"""Masks by row: N of every M consecutive weights stay, or equally many of each row."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_COMPARED = 8
"""Values of a group that are compared in pairs; more are sorted."""

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
                mask[at] = _largest_of_each(values, keep, allowed).view(mask[at].shape)
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
        mask[at] = _largest_of_each(values, keep_R1[at], None if allowed is None else allowed[at])
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


def _largest_of_each(values_GM: Tensor, keep: int | Tensor, within_GM: Tensor | None) -> Tensor:
    """Mask of the `keep` largest unpruned values of each row; `keep` is [G, 1] where rows differ.

    G groups, M weights of one.
    """
    if within_GM is None and isinstance(keep, int) and values_GM.shape[1] <= MOST_COMPARED:
        return _largest_by_rank(values_GM, keep)
    order_GM = values_GM.argsort(dim=1, descending=True, stable=True)
    if within_GM is not None:  # unpruned values first, in the order of `order_GM`
        pruned_GM = ~within_GM.gather(1, order_GM)
        order_GM = order_GM.gather(1, pruned_GM.to(torch.uint8).argsort(dim=1, stable=True))
    chosen_GM = (torch.arange(values_GM.shape[1], device=values_GM.device) < keep).expand_as(order_GM)
    mask_GM = torch.zeros_like(values_GM, dtype=torch.bool).scatter_(1, order_GM, chosen_GM)
    return mask_GM if within_GM is None else mask_GM & within_GM


def _largest_by_rank(values_GM: Tensor, keep: int) -> Tensor:
    """The same where groups are small: each value counts those before it. Six times as fast as to sort."""
    count, columns = values_GM.shape[1], [column.contiguous() for column in values_GM.unbind(1)]
    ranks = [
        torch.full(column.shape, count - 1 - i, dtype=torch.uint8, device=values_GM.device)
        for i, column in enumerate(columns)
    ]
    for j in range(count):
        for i in range(j):
            before = torch.ge(columns[i], columns[j]).view(torch.uint8)  # of equal ones the first
            ranks[j] += before
            ranks[i] -= before
    mask_GM = torch.empty(values_GM.shape, dtype=torch.bool, device=values_GM.device)
    for i, rank in enumerate(ranks):
        torch.lt(rank, keep, out=mask_GM[:, i])
    return mask_GM


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
