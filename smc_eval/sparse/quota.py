"""Quotas: how many weights of one tensor stay, and which of them by their saliencies."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from smc_eval.sparse.pattern import grouped, rowwise
from smc_eval.sparse.select import largest


@dataclass(frozen=True)
class RowQuota:
    """How many weights of a tensor stay, equally many in each row."""

    count: int


PlainQuota = int | tuple[int, int]
"""How many weights of a tensor stay, or N of every M along a row."""

Quota = PlainQuota | RowQuota
"""Also: how many stay in equal shares of the rows."""


def chosen(saliency_OI: Tensor, within_OI: Tensor, quota: Quota) -> Tensor:
    """Mask of the largest saliencies that a quota allows; only weights that are True in `within_OI` stay.

    Ties are settled as in `largest`, `rowwise` and `grouped`: the weight of lower index stays.
    """
    if isinstance(quota, RowQuota):
        return rowwise(saliency_OI, quota.count, within_OI)
    if isinstance(quota, int):
        return largest({"": saliency_OI}, quota, {"": within_OI})[""]
    return grouped(saliency_OI, *quota, within_OI)
