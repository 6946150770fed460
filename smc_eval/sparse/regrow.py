"""Drop and grow within one tensor: as many weights are grown as were dropped."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smc_eval.sparse.select import largest
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup


def drop_count(unpruned: int, share: float, *, up: bool = True) -> int:
    """How many of the unpruned weights a share is. Rounded up, small tensors change too."""
    if up:
        return min(unpruned, math.ceil(unpruned * share - 1e-9))  # 0.55 * 100 is a little more than 55
    return math.floor(unpruned * share + 1e-9)  # 0.29 * 100 is a little less than 29


@torch.no_grad()
def remaining_after_drop(
    weight: Tensor,
    mask: Tensor,
    share: float,
    *,
    signs: bool = False,
    up: bool = True,
    shards: ShardGroup = UNSHARDED,
) -> Tensor:
    """The mask after the share of unpruned weights of least magnitude is dropped; True stays.

    Args:
        signs: drop the share of the smallest positive weights, and the same share of the largest
            negative ones; zeros count as positive.
        up: round the number of dropped weights up, not down.
        shards: the holders of the other rows, where the tensor is sharded by rows.
    """
    sides = [mask & (weight >= 0), mask & (weight < 0)] if signs else [mask]
    stays, magnitude = torch.zeros_like(mask), weight.abs()
    for side, count in zip(sides, shards.count(sides), strict=True):
        stays |= _largest(magnitude, count - drop_count(count, share, up=up), side, shards)
    return stays


@torch.no_grad()
def grown(
    gradient: Tensor | None,
    room: Tensor,
    count: int,
    generator: torch.Generator,
    shards: ShardGroup = UNSHARDED,
) -> Tensor:
    """Mask of `count` positions where `room` is True: those of largest |gradient|, then random ones.

    Positions with gradient 0 rank equal, for example the rows of an embedding whose tokens are absent.
    These, or all positions if there is no gradient, are drawn on the CPU, so that every device draws
    the same. `room` must have at least `count` True. If the tensor is sharded, `count` is of all rows.
    """
    steep, steep_count = torch.zeros_like(room), 0
    if gradient is not None:
        size = gradient.abs()
        steep = room & (size > 0)
        (steep_count,) = shards.count([steep])
        if steep_count >= count:
            return _largest(size, count, steep, shards)
    return steep | _largest(shards.drawn(room, generator), count - steep_count, room & ~steep, shards)


def _largest(values: Tensor, count: int, within: Tensor, shards: ShardGroup) -> Tensor:
    return largest({"": values}, count, {"": within}, shards)[""]
