"""Drop and grow in one tensor, so that as many weights come as go."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smc_eval.sparse.select import largest


def dropped(alive: int, share: float) -> int:
    """How many of so many a share is, rounded up: a small tensor explores too."""
    return min(alive, math.ceil(alive * share - 1e-9))  # 0.55 * 100 is a little more than 55


@torch.no_grad()
def survivors(weight: Tensor, alive: Tensor, share: float, *, signs: bool = False) -> Tensor:
    """What stays of the alive when the share of least magnitude is dropped, True stays.

    Args:
        signs: drop the share of the smallest positive weights, and the same share of the largest
            negative ones; zeros count as positive.
    """
    sides = [alive & (weight >= 0), alive & (weight < 0)] if signs else [alive]
    stays, magnitude = torch.zeros_like(alive), weight.abs()
    for side in sides:
        count = int(side.count_nonzero())
        stays |= _largest(magnitude, count - dropped(count, share), side)
    return stays


@torch.no_grad()
def grown(gradient: Tensor | None, room: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """`count` places where there is room: those of the largest |gradient|, then by lot.

    A place without gradient has no claim before another: the rows of an embedding whose tokens are
    absent, say. Such ties, and all places where no gradient is given, are drawn, on the CPU, so
    that every device draws the same. There must be room enough.
    """
    steep = torch.zeros_like(room)
    if gradient is not None:
        size = gradient.abs()
        steep = room & (size > 0)
        if int(steep.count_nonzero()) >= count:
            return _largest(size, count, steep)
    lots = torch.rand(room.shape, generator=chance).to(room.device)
    return steep | _largest(lots, count - int(steep.count_nonzero()), room & ~steep)


def _largest(values: Tensor, count: int, within: Tensor) -> Tensor:
    return largest({"": values}, count, {"": within})[""]
