"""A crowd: who holds the other rows of tensors that are cut by rows, and counts along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor


class ShardGroup:
    """Those who hold rows of the same tensors, each with its own; here nobody but oneself.

    The first holder has the first rows, the next those that follow. All ask the same in the same
    order: whoever asks waits for the others.
    """

    rank = 0
    """One's own number among the holders, counted from 0."""
    size = 1
    """How many there are."""

    def gather(self, numbers: Sequence[int]) -> list[list[int]]:
        """Everybody's numbers, in the order of holders."""
        return [list(numbers)]

    def add(self, counts: Tensor) -> None:
        """Add up everybody's counts, whole numbers on the CPU, in place."""

    def sums(self, numbers: Iterable[int]) -> list[int]:
        """Each number added up over all holders."""
        return [sum(column) for column in zip(*self.gather(list(numbers)), strict=True)]

    def count(self, masks: Iterable[Tensor]) -> list[int]:
        """How many are True of each mask, all of its rows together."""
        return self.sums(int(mask.count_nonzero()) for mask in masks)

    def shapes(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """By name, the shapes that tensors have with all their rows; none may be a scalar."""
        if self.size == 1:
            return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        rows = self.sums(len(tensor) for tensor in tensors.values())
        return {
            name: (count, *tensor.shape[1:])
            for (name, tensor), count in zip(tensors.items(), rows, strict=True)
        }

    def drawn(self, like: Tensor, chance: torch.Generator) -> Tensor:
        """Uniform numbers in [0, 1) for each place of `like`: of those drawn for all rows, its own.

        Drawn on the CPU, so that every device draws the same, and however the rows are cut.
        """
        if self.size == 1:
            return torch.rand(like.shape, generator=chance).to(like.device)
        rows = [count for (count,) in self.gather([len(like)])]
        first = sum(rows[: self.rank])
        whole = torch.rand((sum(rows), *like.shape[1:]), generator=chance)
        return whole[first : first + len(like)].to(like.device)


UNSHARDED = ShardGroup()
"""Whoever holds all rows."""
