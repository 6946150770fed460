"""Target equations as trees, level by level, so that a whole batch is computed one level at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class SymbolNode:
    """One symbol of an equation; an operator also has its two operands."""

    problem: int
    symbol: int
    choices: tuple[int, ...]
    """Symbols that may replace this one, if it is no output symbol; else empty."""
    inner: bool
    """Whether a node to its right depends on this subtree, so that the subtree must be embedded."""
    operands: tuple[SymbolNode, ...] = ()


@dataclass(frozen=True)
class TreeLevel:
    """All nodes of one depth. The next level holds the operators' left operands, then their right ones.

    Shapes: M nodes of the level, K operators among them.
    """

    problem_M: Tensor
    """The problem of each node, as an index into the batch."""
    symbol_M: Tensor
    operator_K: Tensor
    """Positions of the operators among the nodes."""
    inner_J: Tensor
    """Positions, among the operators, of those whose subtrees must be embedded."""


@dataclass(frozen=True)
class Unknown:
    """A node whose symbol is no output symbol, and the numbers that may replace it."""

    level: int
    place: int
    choices: tuple[int, ...]


@dataclass(frozen=True)
class Trees:
    """The target equations of a batch."""

    levels: tuple[TreeLevel, ...]
    """From the roots down; the roots are in the order of the batch."""
    unknown: tuple[Unknown, ...] = field(default=())
    """In the order of the equations and of their symbols."""

    @property
    def symbols(self) -> Tensor:
        """Symbols of all nodes, level by level."""
        return torch.cat([level.symbol_M for level in self.levels])


def build_trees(
    equations: Sequence[Sequence[int]], operators: int, choices: Sequence[dict[int, tuple[int, ...]]]
) -> Trees:
    """Trees of complete prefix equations of symbol indices; indices below `operators` are operators.

    `choices` holds, for each equation, the symbols that may replace the unknown symbol at a position.
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
    """The root of an equation; all its nodes are added to `order`, in the order of the equation."""

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
