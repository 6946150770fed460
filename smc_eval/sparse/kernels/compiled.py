"""The loops of the compiled kernel: products of compressed rows with transposed tiles.

Plain functions of arrays, which `numba_products` compiles; numba is not needed to import this file. The
innermost steps stand first, as slices; `vectors` has them for numba, in the registers of the processor.
Shapes: M rows of the matrix, R rows of the inputs, C columns, T rows of a tile, B tiles, K values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any
SIDE = 16
"""Rows and columns that are swapped at once: numbers in a cache line."""
WIDE = 64
"""Columns of a tile whose sums fit into the registers of a core."""
WIDEST = 128
"""Columns of a tile. So many rows of inputs stay in the cache of a core."""


class CompressedRows(NamedTuple):
    """A matrix in compressed rows, and a bias."""

    starts: Array
    """Place of the first value of each row, and their number at the end."""
    columns: Array
    values: Array
    bias: Array


def swap_square(source: Array, row: int, column: int, target: Array, to_row: int, to_column: int) -> None:
    """Write a square of one matrix to a place in another, transposed."""
    square = source[row : row + SIDE, column : column + SIDE]
    target[to_row : to_row + SIDE, to_column : to_column + SIDE] = square.T


def sum_wide(matrix: CompressedRows, m: int, tile: Array, t: int, sums: Array, row: int) -> None:
    """Write the bias of m plus its values times their rows of a tile, WIDE columns from t on."""
    some = slice(matrix.starts[m], matrix.starts[m + 1])
    part = tile[matrix.columns[some], t : t + WIDE]
    sums[row, t : t + WIDE] = matrix.bias[m] + matrix.values[some] @ part


def sum_narrow(matrix: CompressedRows, m: int, tile: Array, t: int, sums: Array, row: int) -> None:
    """The same of SIDE columns."""
    some = slice(matrix.starts[m], matrix.starts[m + 1])
    part = tile[matrix.columns[some], t : t + SIDE]
    sums[row, t : t + SIDE] = matrix.bias[m] + matrix.values[some] @ part


def dot_wide(matrix: CompressedRows, m: int, g_MT: Array, tile: Array, t: int, sums_K: Array) -> None:
    """Add to the sum of each value of m the product of row m of G and its row of a tile, WIDEST columns."""
    some = slice(matrix.starts[m], matrix.starts[m + 1])
    sums_K[some] += tile[matrix.columns[some], t : t + WIDEST] @ g_MT[m, t : t + WIDEST]


def dot_narrow(matrix: CompressedRows, m: int, g_MT: Array, tile: Array, t: int, sums_K: Array) -> None:
    """The same of SIDE columns."""
    some = slice(matrix.starts[m], matrix.starts[m + 1])
    sums_K[some] += tile[matrix.columns[some], t : t + SIDE] @ g_MT[m, t : t + SIDE]


def used(rows: int, width: int) -> int:
    """Columns of a tile that so many remaining rows fill, in whole squares."""
    return min(width, -(-rows // SIDE) * SIDE)


def transposed(rows_RC: Array, tile_CT: Array, first: int) -> None:
    """Fill a tile with rows from `first` on, transposed; zeros after the last row, up to a whole square."""
    rows, columns = rows_RC.shape
    columns_used = used(rows - first, tile_CT.shape[1])
    count = min(columns_used, rows - first)
    square_rows, square_columns = count // SIDE * SIDE, columns // SIDE * SIDE
    for t in range(0, square_rows, SIDE):
        for c in range(0, square_columns, SIDE):
            swap_square(rows_RC, first + t, c, tile_CT, c, t)
        for c in range(square_columns, columns):
            for each in range(t, t + SIDE):
                tile_CT[c, each] = rows_RC[first + each, c]
    for c in range(columns):
        for t in range(square_rows, count):
            tile_CT[c, t] = rows_RC[first + t, c]
        for t in range(count, columns_used):
            tile_CT[c, t] = 0.0


def multiplied(matrix: CompressedRows, tile_CT: Array, block: Array, out_RM: Array, first: int) -> None:
    """Write matrix times tile, plus the bias, transposed, to rows from `first` on.

    `block` [SIDE, T] is memory for some rows of the product.
    """
    rows, outputs = out_RM.shape
    columns_used = used(rows - first, tile_CT.shape[1])
    count, wide = min(columns_used, rows - first), columns_used // WIDE * WIDE
    for start in range(0, outputs, SIDE):
        stop = min(start + SIDE, outputs)
        for m in range(start, stop):
            for t in range(0, wide, WIDE):
                sum_wide(matrix, m, tile_CT, t, block, m - start)
            for t in range(wide, columns_used, SIDE):
                sum_narrow(matrix, m, tile_CT, t, block, m - start)
        whole = count // SIDE * SIDE if stop - start == SIDE else 0
        for t in range(0, whole, SIDE):
            swap_square(block, 0, t, out_RM, first + t, start)
        for t in range(whole, count):
            for m in range(start, stop):
                out_RM[first + t, m] = block[m - start, t]


def sampled(matrix: CompressedRows, g_MT: Array, x_CT: Array, columns_used: int, sums_K: Array) -> None:
    """Add the products of the rows of two tiles, where the matrix has a value."""
    wide = columns_used // WIDEST * WIDEST
    for m in range(len(g_MT)):
        for t in range(0, wide, WIDEST):
            dot_wide(matrix, m, g_MT, x_CT, t, sums_K)
        for t in range(wide, columns_used, SIDE):
            dot_narrow(matrix, m, g_MT, x_CT, t, sums_K)


def fill_tiles(rows_RC: Array, tiles_BCT: Array) -> None:
    """Fill tiles with all rows, transposed."""
    for number in range(len(tiles_BCT)):
        transposed(rows_RC, tiles_BCT[number], number * tiles_BCT.shape[2])


def outputs(matrix: CompressedRows, rows_RC: Array, tile_CT: Array, out_RM: Array) -> None:
    """Write rows times the transposed matrix, plus the bias; `tile_CT` is memory."""
    block = np.empty((SIDE, tile_CT.shape[1]), np.float32)
    for first in range(0, len(rows_RC), tile_CT.shape[1]):
        transposed(rows_RC, tile_CT, first)
        multiplied(matrix, tile_CT, block, out_RM, first)


def outputs_of(matrix: CompressedRows, tiles_BCT: Array, out_RM: Array) -> None:
    """The same of tiles that are filled."""
    width = tiles_BCT.shape[2]
    block = np.empty((SIDE, width), np.float32)
    for number in range(len(tiles_BCT)):
        multiplied(matrix, tiles_BCT[number], block, out_RM, number * width)


def gradients(
    matrix: CompressedRows,
    crossed: CompressedRows,
    g_RM: Array,
    tiles_BCT: Array,
    of_x_RC: Array,
    sums_K: Array,
) -> None:
    """Write the gradient of the rows and add that of the values. Where either is empty, it is left out.

    `crossed` is the transposed matrix with its values.
    """
    width, rows = tiles_BCT.shape[2], len(g_RM)
    tile_MT = np.empty((g_RM.shape[1], width), np.float32)
    block = np.empty((SIDE, width), np.float32)
    for number in range(len(tiles_BCT)):
        first = number * width
        transposed(g_RM, tile_MT, first)
        if len(of_x_RC):
            multiplied(crossed, tile_MT, block, of_x_RC, first)
        if len(sums_K):
            sampled(matrix, tile_MT, tiles_BCT[number], used(rows - first, width), sums_K)
