"""Unit layers: which weights each attention head or hidden neuron has.

Shapes: U units of a layer, O outputs, I inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class UnitPart:
    """The rows, or the columns, that the units of a layer have in one weight.

    Unit u has `width` consecutive ones, from `first + u * width` on, of `weight.flatten(1)`.
    """

    name: str
    """The weight."""
    rows: bool
    """Whether units have rows; else they have columns."""
    first: int
    width: int

    def of(self, tensor: Tensor, count: int) -> Tensor:
        """The entries of each unit, [U, width, ...]: a view of a tensor of the weight's shape."""
        matrix = tensor.flatten(1) if self.rows else tensor.flatten(1).T
        own = matrix[self.first : self.first + count * self.width]
        if self.rows:
            return own.view(count, self.width, -1)
        return own.T.view(-1, count, self.width).permute(1, 2, 0)


@dataclass(frozen=True)
class UnitLayer:
    """The units of one attention, or of one hidden layer."""

    count: int
    """U: the number of units."""
    parts: tuple[UnitPart, ...]
    """Where their weights are. The first part is the columns of the map that reads the units."""

    @property
    def name(self) -> str:
        """The name of the map that reads the units."""
        return self.parts[0].name


Units = tuple[UnitLayer, ...]
"""The units of a net, in the order in which their layers run."""
