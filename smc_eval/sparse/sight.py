"""Sight: of which weights a pruner has seen inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from smc_eval.errors import SparsityError

LARGEST_UNSEEN = 0.5
"""Share of the weights in scope of which a pruner that looks at inputs may see none."""

Rectangle = tuple[int, int, int, int]
"""First row, row after the last, first column, column after the last of `weight.flatten(1)`."""


@dataclass
class Sight:
    """What was seen of the inputs of weights."""

    rectangles: dict[str, set[Rectangle]] = field(default_factory=dict)
    """Parts of weights whose inputs were seen."""
    padded: set[str] = field(default_factory=set)
    """Weights whose inputs may include padding."""

    def add(self, others: Iterable[Sight]) -> None:
        """Add what others have seen."""
        for other in others:
            self.padded |= other.padded
            for name, parts in other.rectangles.items():
                self.rectangles.setdefault(name, set()).update(parts)

    def unseen(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
        """The share of each tensor of which no input was seen; without those that were seen whole."""
        shares = {
            name: 1 - covered(self.rectangles.get(name, ())) / math.prod(shape)
            for name, shape in shapes.items()
        }
        return {name: share for name, share in shares.items() if share > 0}


def unseen_share(unseen: Mapping[str, float], shapes: Mapping[str, tuple[int, ...]]) -> float:
    """The unseen share of all weights, from that of each tensor."""
    whole = sum(math.prod(shape) for shape in shapes.values())
    return sum(share * math.prod(shapes[name]) for name, share in unseen.items()) / whole


def refuse_blind(pruner: str, unseen: Mapping[str, float], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a pruner that needs inputs and saw none of most weights: its name would mislead.

    Raises:
        SparsityError: no input was seen of more than half of the weights in scope.
    """
    share = unseen_share(unseen, shapes)
    if share > LARGEST_UNSEEN:
        largest = max(unseen, key=lambda name: unseen[name] * math.prod(shapes[name]))
        more = f" and {len(unseen) - 1} more tensors" if len(unseen) > 1 else ""
        raise SparsityError(
            f"{pruner} saw no input of {share:.0%} of the weights in scope ({largest!r}{more}): "
            "lookup tables, and products of several matrices at once, show none\n"
            "leave them out with --exclude or --scope, or choose a method that looks at no inputs"
        )


def covered(rectangles: Iterable[Rectangle]) -> int:
    """Number of weights that lie in at least one rectangle."""
    parts = list(rectangles)
    rows = sorted({edge for first, last, *_ in parts for edge in (first, last)})
    columns = sorted({edge for *_, first, last in parts for edge in (first, last)})
    cells = torch.zeros(max(0, len(rows) - 1), max(0, len(columns) - 1), dtype=torch.bool)
    row_of, column_of = ({edge: at for at, edge in enumerate(edges)} for edges in (rows, columns))
    for top, bottom, left, right in parts:
        cells[row_of[top] : row_of[bottom], column_of[left] : column_of[right]] = True
    heights, widths = (torch.tensor(edges, dtype=torch.long).diff() for edges in (rows, columns))
    return int((cells * heights[:, None] * widths).sum())
