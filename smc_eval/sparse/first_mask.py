"""A first mask that is given, instead of a number of weights that stay."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from smc_eval.sparse.quota import RowQuota


@dataclass(frozen=True)
class FirstMask(RowQuota):
    """The first mask itself: each row keeps the count that it has there."""

    mask: Tensor
    """Of the shape of the weight."""
