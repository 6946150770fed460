"""Weight change: how far the weights moved from where they started."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from smc_eval.sparse.net import Net


@torch.no_grad()
def weight_change(net: Net, start: Mapping[str, Tensor]) -> dict[str, Any]:
    """‖w − w₀‖ / ‖w₀‖ over the scope and of each tensor in it; `start` holds w₀ by name.

    `tensors` and `scope` are over all weights, also those that a mask set to zero. `tensors_remaining`
    and `scope_remaining` are over the unpruned weights alone. None where w₀ is zero.
    """
    sums = dict[str, list[float]]()
    for name, weight in net.weights.items():
        first = start[name].to(weight.device)
        gone = ~net.masks[name] if name in net.masks else torch.zeros_like(weight, dtype=torch.bool)
        went, began = (weight - first).double().square_(), first.double().square()
        both = [float(went.sum()), float(began.sum())]
        sums[name] = both + [float(part.masked_fill_(gone, 0).sum()) for part in (went, began)]
    total = [sum(column) for column in zip(*sums.values(), strict=True)]
    return {
        "scope": _ratio(*total[:2]),
        "scope_remaining": _ratio(*total[2:]),
        "tensors": {name: _ratio(*of[:2]) for name, of in sums.items()},
        "tensors_remaining": {name: _ratio(*of[2:]) for name, of in sums.items()},
    }


def _ratio(went: float, began: float) -> float | None:
    return math.sqrt(went / began) if began and math.isfinite(went) else None
