"""The outline of target trees: which node hangs where, for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outline:
    """All nodes of all target trees of a batch, one after the other in prefix order.

    A node's goal depends on what lies above it, a sub-tree on what lies below: so all nodes of one
    depth are computed together, from the roots down, and all sub-trees of one height from the
    leaves up.
    """

    problem: Tensor
    """[M] which problem of the batch the node belongs to."""
    symbol: Tensor
    """[M] its target symbol."""
    left: Tensor
    """[M] its left child's place, -1 for a leaf."""
    right: Tensor
    """[M] its right child's place, -1 for a leaf."""
    roots: Tensor
    """[N] places of the roots."""
    beside: tuple[Tensor, ...]
    """Places of the operators whose sub-tree has a right sibling somewhere above, by height from 1."""


def outline(targets: Sequence[Sequence[int]], operators: int) -> Outline:
    """The outline of whole prefix sequences; symbols below `operators` have two children."""
    problem: list[int] = []
    symbol: list[int] = []
    left: list[int] = []
    right: list[int] = []
    needed: list[bool] = []
    roots: list[int] = []
    for number, target in enumerate(targets):
        roots.append(len(symbol))
        waiting: list[int] = []  # operators that lack a child
        for token in target:
            place = len(symbol)
            problem.append(number)
            symbol.append(token)
            left.append(-1)
            right.append(-1)
            first = bool(waiting) and left[waiting[-1]] < 0
            needed.append(first or (bool(waiting) and needed[waiting[-1]]))
            if first:
                left[waiting[-1]] = place
            elif waiting:
                right[waiting.pop()] = place
            if token < operators:
                waiting.append(place)
    heights = [0] * len(symbol)
    levels: dict[int, list[int]] = {}
    for place in reversed(range(len(symbol))):
        if left[place] >= 0:
            heights[place] = 1 + max(heights[left[place]], heights[right[place]])
            if needed[place]:
                levels.setdefault(heights[place], []).append(place)
    vectors = (torch.tensor(values) for values in (problem, symbol, left, right, roots))
    return Outline(*vectors, beside=tuple(torch.tensor(levels[height]) for height in sorted(levels)))
