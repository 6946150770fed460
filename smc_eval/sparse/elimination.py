"""Greedy elimination: a block loses its weights one after the other, and each removal moves the others.

Kuznedelev et al. (2023), arXiv:2210.09223. The cheapest weight of a block goes first, with the cost
w^2 / (2 [F^-1]_ii) of that moment. The rest of the block is updated, and F^-1 becomes the inverse over the
weights that are left. So a weight becomes dear once its stand-ins have gone. Each block does this down to its
last weight, and a weight's score is the whole loss up to and including its own removal.

Shapes: G blocks processed together, B weights of one, S of them that are still compared.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from smc_eval.sparse.fisher import DOUBLE, Tile, inverses


class Rooms(NamedTuple):
    """How many weights each N:M group of a block may still lose."""

    group_GB: Tensor
    """Number of each weight's group, counted from 0 in its block."""
    room_GB: Tensor
    """Weights that may go, by number of the group."""


def rooms(tile: Tile, shape: torch.Size, n: int, m: int, unpruned_GB: Tensor) -> Rooms:
    """The rooms of the blocks of a tile under an N:M pattern.

    A group that two blocks share may lose as many weights in each as in all: see `elimination_costs`.
    """
    columns = shape[1:].numel()
    flat_GB = tile.first + torch.arange(unpruned_GB.numel(), device=unpruned_GB.device).view_as(unpruned_GB)
    column_GB = flat_GB % columns
    group_GB = flat_GB // columns * -(-columns // m) + column_GB // m
    group_GB = group_GB - group_GB[:, :1]
    size_GB = (columns - column_GB // m * m).clamp_max(m)
    room_GB = torch.zeros_like(group_GB).scatter_(1, group_GB, size_GB - (size_GB * n + m - 1) // m)
    gone_GB = torch.zeros_like(group_GB).scatter_add_(1, group_GB, (~unpruned_GB).long())
    return Rooms(group_GB, (room_GB - gone_GB).clamp_min_(0))


@torch.no_grad()
def elimination_costs(
    name: str, f_GBB: Tensor, w_GB: Tensor, unpruned_GB: Tensor, limits: Rooms | None = None
) -> Tensor:
    """The loss of a block when this weight and all that go before it have gone, as [G, B], in doubles.

    A later removal never costs less than an earlier one, and at least one unit in the last place more: the
    highest costs of a block are always those of its last removals. Of equal weights the first goes first.
    Weights that are already pruned get 0. Under `limits`, weights that never have to go get infinity.

    Removals one by one round F^-1 each time. After every half of the weights, F^-1 and the new weights are
    therefore computed again from F, and from then on only the other half is updated.

    Raises:
        SparsityError: F cannot be inverted in double precision. The message gives `name`.
    """
    old_GB, left_GB = w_GB.to(DOUBLE), unpruned_GB.clone()
    costs_GB = torch.full_like(old_GB, torch.inf).masked_fill_(~left_GB, 0)
    loss_G = old_GB.new_zeros(len(old_GB))
    room_GB = None if limits is None else limits.room_GB.clone()
    while width := int(left_GB.count_nonzero(1).max()) if left_GB.numel() else 0:
        # the weights that are left come first, in their order; blocks with fewer of them are filled up
        at_GS = left_GB.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
        live_GS, own_GS = left_GB.gather(1, at_GS), costs_GB.gather(1, at_GS)
        w_GS, inverse_GSS = _left(name, f_GBB, old_GB, left_GB, at_GS)
        before = int(live_GS.count_nonzero())
        for _ in range(width - width // 2):
            open_GS = live_GS
            if limits is not None and room_GB is not None:
                open_GS = live_GS & (room_GB.gather(1, limits.group_GB.gather(1, at_GS)) > 0)
            rise_GS = w_GS.square() / (2 * inverse_GSS.diagonal(dim1=1, dim2=2))
            rise_G, first_G = rise_GS.masked_fill(~open_GS, torch.inf).min(1)  # the first of equal ones
            goes_G, first_G1 = rise_G.isfinite(), first_G[:, None]
            loss_G = torch.where(goes_G, torch.maximum(loss_G + rise_G, _next(loss_G)), loss_G)
            own_GS.scatter_(
                1, first_G1, torch.where(goes_G[:, None], loss_G[:, None], own_GS.gather(1, first_G1))
            )
            _remove(w_GS, inverse_GSS, first_G1, goes_G[:, None])
            live_GS.scatter_(1, first_G1, live_GS.gather(1, first_G1) & ~goes_G[:, None])
            w_GS.masked_fill_(~live_GS, 0)
            if limits is not None and room_GB is not None:
                group_G1 = limits.group_GB.gather(1, at_GS.gather(1, first_G1))
                room_GB.scatter_add_(1, group_G1, -goes_G[:, None].long())
        costs_GB.scatter_(1, at_GS, own_GS)
        left_GB.scatter_(1, at_GS, live_GS)
        if int(live_GS.count_nonzero()) == before:  # every group has lost enough
            break
    return costs_GB


def _next(loss_G: Tensor) -> Tensor:
    """The next larger numbers."""
    return torch.nextafter(loss_G, torch.full_like(loss_G, torch.inf))


def _left(name: str, f_GBB: Tensor, old_GB: Tensor, left_GB: Tensor, at_GS: Tensor) -> tuple[Tensor, Tensor]:
    """New values of the weights that are left, as [G, S], and F^-1 over them; `at_GS` has them and fillers.

    The values are those of `compensated`. A filler is 0, and its row and column are of the unit matrix.
    """
    size, width = f_GBB.shape[1], at_GS.shape[1]
    live_GS = left_GB.gather(1, at_GS)
    rows_GSB = f_GBB.gather(1, at_GS[:, :, None].expand(-1, -1, size))
    pull_GS1 = rows_GSB @ old_GB.masked_fill(left_GB, 0)[:, :, None]
    f_GSS = rows_GSB.gather(2, at_GS[:, None, :].expand(-1, width, -1))
    f_GSS.masked_fill_(~(live_GS[:, :, None] & live_GS[:, None, :]), 0)
    f_GSS.diagonal(dim1=1, dim2=2).masked_fill_(~live_GS, 1)
    inverse_GSS = inverses(name, f_GSS)
    moves_GS = (inverse_GSS @ pull_GS1.masked_fill_(~live_GS[:, :, None], 0))[:, :, 0]
    return (old_GB.gather(1, at_GS) + moves_GS).masked_fill_(~live_GS, 0), inverse_GSS


def _remove(w_GS: Tensor, inverse_GSS: Tensor, at_G1: Tensor, goes_G1: Tensor) -> None:
    """Remove a weight of each block where `goes_G1`: the weights and the inverse are those without it."""
    row_GS = inverse_GSS.gather(1, at_G1[:, :, None].expand(-1, -1, w_GS.shape[1]))[:, 0]
    share_GS = row_GS * torch.where(goes_G1, 1 / row_GS.gather(1, at_G1), 0)
    w_GS.sub_(share_GS * w_GS.gather(1, at_G1))
    inverse_GSS.baddbmm_(row_GS[:, :, None], share_GS[:, None, :], alpha=-1)
