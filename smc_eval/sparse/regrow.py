"""Drop and grow in one tensor, so that as many weights come as go."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smc_eval.sparse.select import largest
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup


def dropped(alive: int, share: float) -> int:
    """How many of so many a share is, rounded up: a small tensor explores too."""
    return min(alive, math.ceil(alive * share - 1e-9))  # 0.55 * 100 is a little more than 55


@torch.no_grad()
def survivors(
    weight: Tensor, alive: Tensor, share: float, *, signs: bool = False, shards: ShardGroup = UNSHARDED
) -> Tensor:
    """What stays of the alive when the share of least magnitude is dropped, True stays.

    Args:
        signs: drop the share of the smallest positive weights, and the same share of the largest
            negative ones; zeros count as positive.
        crowd: who holds the other rows, where the tensor is cut by rows.
    """
    sides = [alive & (weight >= 0), alive & (weight < 0)] if signs else [alive]
    stays, magnitude = torch.zeros_like(alive), weight.abs()
    for side, count in zip(sides, shards.count(sides), strict=True):
        stays |= _largest(magnitude, count - dropped(count, share), side, shards)
    return stays


@torch.no_grad()
def grown(
    gradient: Tensor | None, room: Tensor, count: int, chance: torch.Generator, shards: ShardGroup = UNSHARDED
) -> Tensor:
    """`count` places where there is room: those of the largest |gradient|, then by lot.

    A place without gradient has no claim before another: the rows of an embedding whose tokens are
    absent, say. Such ties, and all places where no gradient is given, are drawn, on the CPU, so
    that every device draws the same. There must be room enough. `count` is of all rows, where the
    tensor is cut among a crowd.
    """
    steep, claims = torch.zeros_like(room), 0
    if gradient is not None:
        size = gradient.abs()
        steep = room & (size > 0)
        (claims,) = shards.count([steep])
        if claims >= count:
            return _largest(size, count, steep, shards)
    return steep | _largest(shards.drawn(room, chance), count - claims, room & ~steep, shards)


def _largest(values: Tensor, count: int, within: Tensor, shards: ShardGroup) -> Tensor:
    return largest({"": values}, count, {"": within}, shards)[""]
