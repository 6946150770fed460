"""Target equations as trees, level by level: all that can be computed at once, over a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class SymbolNode:
    """One symbol of an equation and, under an operator, its two operands."""

    problem: int
    symbol: int
    choices: tuple[int, ...]
    """Symbols that may stand for one that no net can write; else empty."""
    inner: bool
    """Whether a right-hand node will be told of it, so that its tree must be embedded."""
    operands: tuple[SymbolNode, ...] = ()


@dataclass(frozen=True)
class TreeLevel:
    """All nodes of one depth. Below them stand the operators' left operands, then their right ones.

    Shapes: M nodes of the level, K operators among them.
    """

    problem_M: Tensor
    """Which problem of the batch each node belongs to."""
    symbol_M: Tensor
    operator_K: Tensor
    """Which of the nodes are operators."""
    inner_J: Tensor
    """Which of the operators have trees that must be embedded."""


@dataclass(frozen=True)
class Unknown:
    """A node whose symbol is none of the net's, and the numbers that may stand for it."""

    level: int
    place: int
    choices: tuple[int, ...]


@dataclass(frozen=True)
class Trees:
    """The target equations of a batch."""

    levels: tuple[TreeLevel, ...]
    """From the roots down; the roots stand in the batch's order."""
    unknown: tuple[Unknown, ...] = field(default=())
    """In the order in which a reader of the equations meets them."""

    @property
    def symbols(self) -> Tensor:
        """Symbols of all nodes, level after level."""
        return torch.cat([level.symbol_M for level in self.levels])


def trees(
    equations: Sequence[Sequence[int]], operators: int, choices: Sequence[dict[int, tuple[int, ...]]]
) -> Trees:
    """Trees of whole prefix equations, given as symbol indices; those below `operators` are operators.

    `choices` holds, for each equation, the symbols that may stand at a place where the equation's
    own is unknown.
    """
    order: list[SymbolNode] = []
    nodes = [_parsed(n, equation, operators, choices[n], order) for n, equation in enumerate(equations)]
    places: dict[int, tuple[int, int]] = {}
    levels: list[TreeLevel] = []
    while nodes:
        places |= {id(node): (len(levels), place) for place, node in enumerate(nodes)}
        parents = [place for place, node in enumerate(nodes) if node.operands]
        levels.append(
            TreeLevel(
                torch.tensor([node.problem for node in nodes]),
                torch.tensor([node.symbol for node in nodes]),
                torch.tensor(parents, dtype=torch.long),
                torch.tensor([k for k, place in enumerate(parents) if nodes[place].inner], dtype=torch.long),
            )
        )
        nodes = [nodes[place].operands[side] for side in (0, 1) for place in parents]
    unknown = [Unknown(*places[id(node)], node.choices) for node in order if node.choices]
    return Trees(tuple(levels), tuple(unknown))


def _parsed(
    problem: int,
    equation: Sequence[int],
    operators: int,
    choices: dict[int, tuple[int, ...]],
    order: list[SymbolNode],
) -> SymbolNode:
    """The equation's root; all its nodes are added to `order`, as they stand in the equation."""

    def read(*, inner: bool) -> SymbolNode:
        place = len(order) - first
        options = choices.get(place, ())
        node = SymbolNode(problem, options[0] if options else equation[place], options, inner)
        order.append(node)
        if node.symbol < operators:
            node.operands = read(inner=True), read(inner=inner)
        return node

    first = len(order)
    return read(inner=False)
