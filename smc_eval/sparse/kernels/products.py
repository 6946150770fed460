"""The products of a linear map Y = X W^T + b, forward and backward, with the unpruned weights alone.

Shapes: N rows, O outputs, I inputs, K unpruned weights, T rows of a tile, B tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from smc_eval.sparse.kernels.layout import MaskLayout

MOST_ROWS = 128
"""Most rows that are multiplied at once, transposed, so that they stay in the cache of a core. For MiniLM's
maps 64 and 256 are at most 10 % slower, all rows at once 1.5 times."""
LANES = 8
"""The rows of a tile are a multiple of it."""

Gradients = tuple[Tensor | None, Tensor | None]
"""Of X [N, I], and of the stored weight, +0.0 where it is pruned. None where it is not needed."""


class Products(Protocol):
    """A kernel of linear maps. It keeps nothing itself."""

    def outputs(self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, x_NI: Tensor) -> Tensor:
        """Y [N, O]."""

    def prepared(self, x_NI: Tensor) -> Tensor:
        """X in the form in which both passes read it."""

    def outputs_of(
        self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, kept: Tensor, rows: int
    ) -> Tensor:
        """Y [N, O] of a kept X."""

    def gradients(
        self, layout: MaskLayout, weight: Tensor, g_NO: Tensor, kept: Tensor, *, of_x: bool, of_weight: bool
    ) -> Gradients:
        """The gradients, from that of Y and a kept X."""


class DenseProducts:
    """torch's dense products. The gradient of a pruned weight is +0.0 here too."""

    def outputs(self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, x_NI: Tensor) -> Tensor:
        return torch.nn.functional.linear(x_NI, layout.matrix(weight), bias_O)

    def prepared(self, x_NI: Tensor) -> Tensor:
        return x_NI

    def outputs_of(
        self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, kept: Tensor, rows: int
    ) -> Tensor:
        return self.outputs(layout, weight, bias_O, kept)

    def gradients(
        self, layout: MaskLayout, weight: Tensor, g_NO: Tensor, kept: Tensor, *, of_x: bool, of_weight: bool
    ) -> Gradients:
        x_gradient = g_NO @ layout.matrix(weight) if of_x else None
        gradient = (kept.T @ g_NO if layout.turned else g_NO.T @ kept) if of_weight else None
        return x_gradient, gradient


class TileProducts:
    """Compressed sparse rows times transposed tiles of rows, by torch alone.

    The backward pass transposes each tile of G once, for the product with W^T and for the sampled product
    with the tile of X that the forward pass transposed.
    """

    def outputs(self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, x_NI: Tensor) -> Tensor:
        return self._outputs(layout, weight, bias_O, _tiles(x_NI), len(x_NI))

    def prepared(self, x_NI: Tensor) -> Tensor:
        """[B, I, T], zero after the last row."""
        count, width = tiling(len(x_NI))
        kept = x_NI.new_empty(count, x_NI.shape[1], width)
        for tile_IT, whole_IT in zip(kept, _tiles(x_NI), strict=True):
            tile_IT.copy_(whole_IT)
        return kept

    def outputs_of(
        self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, kept: Tensor, rows: int
    ) -> Tensor:
        return self._outputs(layout, weight, bias_O, iter(kept), rows)

    def _outputs(
        self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, tiles: Iterator[Tensor], rows: int
    ) -> Tensor:
        order, (_, width) = layout.by_output, tiling(rows)
        matrix_OI = order.filled(order.values(weight))
        outputs_NO, tile_OT = weight.new_empty(rows, layout.outputs), weight.new_empty(layout.outputs, width)
        bias_OT = None if bias_O is None else bias_O.detach()[:, None].expand(-1, width).contiguous()
        for part_TO, tile_IT in zip(torch.split(outputs_NO, width), tiles, strict=True):
            _multiply(matrix_OI, tile_IT, tile_OT, bias_OT)
            part_TO.copy_(tile_OT[:, : len(part_TO)].T)
        return outputs_NO

    def gradients(
        self, layout: MaskLayout, weight: Tensor, g_NO: Tensor, kept: Tensor, *, of_x: bool, of_weight: bool
    ) -> Gradients:
        order, width = layout.by_input, kept.shape[2]
        matrix_IO = order.filled(order.values(weight))
        x_gradient = g_NO.new_empty(len(g_NO), layout.inputs) if of_x else None
        tile_IT = g_NO.new_empty(layout.inputs, width)
        sums = layout.by_output.filled(g_NO.new_zeros(layout.count))
        for number, (g_OT, x_IT) in enumerate(zip(_tiles(g_NO), kept, strict=True)):
            if x_gradient is not None:
                _multiply(matrix_IO, g_OT, tile_IT, None)
                part_TI = x_gradient[number * width : (number + 1) * width]
                part_TI.copy_(tile_IT[:, : len(part_TI)].T)
            if of_weight:
                torch.sparse.sampled_addmm(sums, g_OT, x_IT.T, out=sums)
        return x_gradient, layout.scattered(sums.values()) if of_weight else None


def _multiply(matrix: Tensor, tile: Tensor, out: Tensor, bias: Tensor | None) -> None:
    """Write matrix times tile, plus a bias, over whatever `out` holds.

    `torch.mm` would make a tensor of zeros at each call.
    """
    if bias is None:
        torch.addmm(out, matrix, tile, beta=0, out=out)
    else:
        torch.addmm(bias, matrix, tile, out=out)


def tiling(rows: int) -> tuple[int, int]:
    """Number of tiles, and rows of each: as equal as whole lanes allow."""
    count = max(1, -(-rows // MOST_ROWS))
    return count, -(-rows // (count * LANES)) * LANES


def _tiles(rows_NI: Tensor) -> Iterator[Tensor]:
    """The tiles [I, T] of rows, one after the other in the same memory; zero after the last row."""
    _, width = tiling(len(rows_NI))
    tile_IT = rows_NI.new_empty(rows_NI.shape[1], width)
    for part_TI in torch.split(rows_NI, width):
        if len(part_TI) < width:
            tile_IT[:, len(part_TI) :] = 0.0
        tile_IT[:, : len(part_TI)].copy_(part_TI.T)
        yield tile_IT
