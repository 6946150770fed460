"""Relative importance: the size of a weight among those of its row and of its column."""

from __future__ import annotations

from torch import Tensor


def relative_importance(weight: Tensor) -> Tensor:
    """|w| as a share of its row plus |w| as a share of its column; 0 for a weight of 0.

    Zhang et al. (2024), RIA. Rows and columns are those of `weight.flatten(1)`.
    """
    size_OI = weight.abs().flatten(1)
    rows_O1, columns_I = size_OI.sum(1, keepdim=True), size_OI.sum(0)
    shares_OI = (size_OI / rows_O1).nan_to_num_(0) + (size_OI / columns_I).nan_to_num_(0)
    return shares_OI.view(weight.shape)
