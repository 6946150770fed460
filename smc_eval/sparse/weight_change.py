"""Weight change: the distance of the weights from their initial values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from smc_eval.sparse.net import Net


@torch.no_grad()
def weight_change(net: Net, start: Mapping[str, Tensor]) -> dict[str, Any]:
    """‖w − w₀‖ / ‖w₀‖ over the scope and of each tensor in it; `start` has w₀ by name.

    `tensors` and `scope` are over all weights, pruned ones included. `tensors_remaining` and
    `scope_remaining` are over the unpruned weights alone. None where w₀ is zero.
    """
    sums = dict[str, list[float]]()
    for name, weight in net.weights.items():
        first = start[name].to(weight.device)
        pruned = ~net.masks[name] if name in net.masks else torch.zeros_like(weight, dtype=torch.bool)
        change, norm = (weight - first).double().square_(), first.double().square()
        both = [float(change.sum()), float(norm.sum())]
        sums[name] = both + [float(part.masked_fill_(pruned, 0).sum()) for part in (change, norm)]
    total = [sum(column) for column in zip(*sums.values(), strict=True)]
    return {
        "scope": _ratio(*total[:2]),
        "scope_remaining": _ratio(*total[2:]),
        "tensors": {name: _ratio(*part[:2]) for name, part in sums.items()},
        "tensors_remaining": {name: _ratio(*part[2:]) for name, part in sums.items()},
    }


def _ratio(change: float, norm: float) -> float | None:
    return math.sqrt(change / norm) if norm and math.isfinite(change) else None
