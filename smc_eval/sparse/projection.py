"""Projection: the largest magnitudes that meet a quota, found again and again in similar tensors.

Shapes: O outputs, I inputs, G groups, M inputs of a group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smc_eval.sparse.quota import PlainQuota, chosen

NEAR = 0.2
"""The least magnitude that stays is first sought within this share of the one before."""

SMALL_GROUP = 8
"""In groups of at most so many weights all are compared with each other, which is faster than to sort."""


class Projection:
    """Masks of the largest magnitudes; equal to those of `chosen`, and faster.

    Where only some weights may stay, only they do. Of equal magnitudes the one of lower index stays.
    """

    def __init__(self, within_OI: Tensor, quota: PlainQuota) -> None:
        """`quota` is how many weights stay, or N of every M along a row."""
        self.within_OI, self.quota = within_OI, quota
        self.everything = bool(within_OI.all())
        self.least = 0.0
        """The least magnitude that stayed last time; 0 at first."""

    def __call__(self, values_OI: Tensor) -> Tensor:
        """Mask of the weights that stay."""
        sizes_OI = values_OI.abs()
        if not self.everything:
            sizes_OI.masked_fill_(~self.within_OI, -1)
        if isinstance(self.quota, int):
            mask_OI = self._near(sizes_OI, self.quota)
            if mask_OI is None:
                mask_OI = chosen(sizes_OI, self.within_OI, self.quota)
                self.least = float(sizes_OI[mask_OI].min()) if self.quota else 0.0
            return mask_OI
        n, m = self.quota
        if m > SMALL_GROUP or sizes_OI.shape[1] % m:
            return chosen(sizes_OI, self.within_OI, self.quota)
        mask_OI = _first_of_each(sizes_OI.view(-1, m), n).view(sizes_OI.shape)
        return mask_OI if self.everything else mask_OI & self.within_OI

    def _near(self, sizes_OI: Tensor, keep: int) -> Tensor | None:
        """The mask, if the least magnitude that stays is near that of last time and has no equal."""
        low, high = self.least * (1 - NEAR), self.least * (1 + NEAR)
        if not 0 < low < high:
            return None
        above = sizes_OI > high
        missing = keep - int(above.count_nonzero())
        between = sizes_OI[(sizes_OI >= low) & ~above]
        if not 0 < missing <= len(between):
            return None
        least = between.kthvalue(len(between) - missing + 1).values
        mask_OI = sizes_OI >= least
        self.least = float(least)
        return mask_OI if int(mask_OI.count_nonzero()) == keep else None


def _first_of_each(sizes_GM: Tensor, n: int) -> Tensor:
    """Mask of the `n` largest of each group: those before which fewer than `n` others come."""
    before_MG = torch.zeros(sizes_GM.shape[::-1], dtype=torch.uint8, device=sizes_GM.device)
    sizes_MG = sizes_GM.T.contiguous()
    for second in range(1, len(sizes_MG)):
        for first in range(second):
            later = sizes_MG[second] <= sizes_MG[first]
            before_MG[second] += later
            before_MG[first] += ~later
    return (before_MG < n).T.contiguous()
