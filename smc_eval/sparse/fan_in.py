"""Fan-in: how many weights of a row remain; and RigL's exchange of weights with a constant fan-in.

A row of a tensor is the weights of one neuron, or of one filter of a convolution: `tensor.flatten(1)[i]`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smc_eval.sparse.regrow import drop_count
from smc_eval.sparse.select import largest


def fan_in_range(mask: Tensor) -> tuple[int, int]:
    """The smallest and the largest number of unpruned weights of a row; rows without any do not count."""
    count_O = mask.flatten(1).count_nonzero(1)
    live = count_O[count_O > 0]
    return (int(live.min()), int(live.max())) if len(live) else (0, 0)


@torch.no_grad()
def exchanged(
    weight: Tensor,
    gradient: Tensor,
    mask: Tensor,
    share: float,
    generator: torch.Generator,
    *,
    salient_share: float,
) -> Tensor:
    """The next mask of a tensor: the same number of weights, equally many in each row that has some.

    The share of the weights of least magnitude is pruned, over all rows together. Then each row grows the
    weights of largest |gradient| until it has its fan-in. A row with more kept weights than its fan-in
    loses the smallest of them. A remainder of the division goes to the first rows, one each. Where
    gradients are zero, a row grows at random.

    A row without enough salient weights is ablated: it loses all weights, and the others share them. Later
    it may return. See `ablated`.

    Args:
        salient_share: the share of the fan-in that must be salient in a row. 0 ablates no row.
    """
    total = int(mask.count_nonzero())
    weight_OI, size_OI, mask_OI = weight.abs().flatten(1), gradient.abs().flatten(1), mask.flatten(1)
    pruned = drop_count(total, share)
    live_O = torch.ones(len(mask_OI), dtype=torch.bool, device=mask.device)
    kept_OI = _largest(weight_OI, total - pruned, mask_OI)
    if salient_share:
        steep_OI = _largest(size_OI, pruned, torch.ones_like(mask_OI))
        live_O = ~ablated(kept_OI | steep_OI, total, salient_share)
        if not bool((live_O | ~mask_OI.any(1)).all()):  # fewer than `total` weights are left to choose from
            old_OI = mask_OI & live_O[:, None]
            kept_OI = _largest(weight_OI, min(total - pruned, int(old_OI.count_nonzero())), old_OI)
    fan_in_O = _equal(total, live_O)
    full_O = kept_OI.count_nonzero(1) > fan_in_O
    if bool(full_O.any()):
        kept_OI[full_O] = _largest_of_rows(weight_OI[full_O], fan_in_O[full_O], kept_OI[full_O])
    grown_OI = _grown(size_OI, fan_in_O - kept_OI.count_nonzero(1), ~kept_OI, generator)
    return (kept_OI | grown_OI).view(mask.shape)


def ablated(salient_OI: Tensor, total: int, salient_share: float) -> Tensor:
    """Which rows are ablated: those with fewer salient weights than a share of the fan-in, [O].

    The fan-in is that of all O rows, `total // O`, and the least number is at least 1. It never is above the
    number of salient weights of the row that follows the `total // I` most salient ones: so the rows that
    stay can hold `total` weights.
    """
    rows, columns = salient_OI.shape
    count_O = salient_OI.count_nonzero(1)
    least = max(1, int(salient_share * (total // rows) + 1e-9))
    needed = min(total // columns, rows - 1)
    return count_O < min(least, int(count_O.sort(descending=True).values[needed]))


def _equal(total: int, live_O: Tensor) -> Tensor:
    """`total` in equal parts over the live rows; the first ones have one more where it cannot be divided."""
    each, rest = divmod(total, int(live_O.count_nonzero()))
    fan_in_O = live_O * each
    fan_in_O[live_O.nonzero()[:rest, 0]] += 1
    return fan_in_O


def _grown(size_OI: Tensor, count_O: Tensor, room_OI: Tensor, generator: torch.Generator) -> Tensor:
    """In each row so many positions where there is room: those of largest size, then random ones."""
    grown_OI = _largest_of_rows(size_OI, count_O, room_OI & (size_OI > 0))
    missing_O = count_O - grown_OI.count_nonzero(1)
    if bool(missing_O.any()):
        drawn_OI = torch.rand(size_OI.shape, generator=generator).to(size_OI.device)
        grown_OI |= _largest_of_rows(drawn_OI, missing_O, room_OI & ~grown_OI)
    return grown_OI


def _largest_of_rows(values_OI: Tensor, count_O: Tensor, within_OI: Tensor) -> Tensor:
    """`largest_of_each` for values of 0 or more, without sorting whole rows: for long rows, small counts."""
    most = int(count_O.max())
    if not most:
        return torch.zeros_like(within_OI)
    values_OI = torch.where(within_OI, values_OI, -1.0)
    best_OC = values_OI.topk(most, dim=1).values
    least_O1 = best_OC.gather(1, (count_O[:, None] - 1).clamp(min=0))
    chosen_OI, ties_OI = values_OI > least_O1, (values_OI == least_O1) & within_OI
    open_O1 = (count_O - chosen_OI.count_nonzero(1))[:, None]
    if bool((ties_OI.count_nonzero(1)[:, None] > open_O1).any()):
        ties_OI &= ties_OI.cumsum(1) <= open_O1  # of equal values the first
    return (chosen_OI | ties_OI) & (count_O > 0)[:, None]


def _largest(values: Tensor, count: int, within: Tensor) -> Tensor:
    return largest({"": values}, count, {"": within})[""]
