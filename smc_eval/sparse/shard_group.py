"""A shard group: the holders of the rows of tensors that are sharded by rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from smc_eval.sparse.counts import count_true


class ShardGroup:
    """The holders of rows of the same tensors, each with its own rows; here a single holder of all.

    The first holder has the first rows, the next has the rows that follow. All holders must call the same
    methods in the same order: each call waits for the others.
    """

    rank = 0
    """Number of this holder, counted from 0."""
    size = 1
    """Number of holders."""

    def gather(self, numbers: Sequence[int]) -> list[list[int]]:
        """The numbers of every holder, in the order of holders."""
        return [list(numbers)]

    def add(self, counts: Tensor) -> None:
        """Add up the counts of all holders, whole numbers on the CPU, in place."""

    def sums(self, numbers: Iterable[int]) -> list[int]:
        """Each number, added up over all holders."""
        return [sum(column) for column in zip(*self.gather(list(numbers)), strict=True)]

    def count(self, masks: Iterable[Tensor]) -> list[int]:
        """The number of True in each mask, over the rows of all holders."""
        return self.sums(map(count_true, masks))

    def shapes(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """The shapes of the whole tensors, by name; none may be a scalar."""
        if self.size == 1:
            return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        rows = self.sums(len(tensor) for tensor in tensors.values())
        return {
            name: (count, *tensor.shape[1:])
            for (name, tensor), count in zip(tensors.items(), rows, strict=True)
        }

    def drawn(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform numbers in [0, 1) of the shape of `like`: this holder's rows of those for all rows.

        Drawn on the CPU, so that they are the same on every device and for any number of holders.
        """
        if self.size == 1:
            return torch.rand(like.shape, generator=generator).to(like.device)
        rows = [count for (count,) in self.gather([len(like)])]
        first = sum(rows[: self.rank])
        whole = torch.rand((sum(rows), *like.shape[1:]), generator=generator)
        return whole[first : first + len(like)].to(like.device)


UNSHARDED = ShardGroup()
"""The group of a single holder, which has all rows."""
