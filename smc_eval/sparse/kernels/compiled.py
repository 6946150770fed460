"""The loops of the compiled kernel: products of compressed rows with transposed tiles.

Plain functions of arrays, which `numba_products` compiles; numba is not needed to import this file.
Shapes: M rows of the matrix, R rows of the inputs, C columns, T rows of a tile, K values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
CACHE_LINE = 16
"""Numbers in a cache line."""


def transposed(rows_RC: Array, tile_CT: Array, first: int) -> None:
    """Fill a tile with rows from `first` on, transposed; zeros after the last row."""
    width = tile_CT.shape[1]
    count = min(width, rows_RC.shape[0] - first)
    for start in range(0, rows_RC.shape[1], CACHE_LINE):
        stop = min(start + CACHE_LINE, rows_RC.shape[1])
        for t in range(count):
            for c in range(start, stop):
                tile_CT[c, t] = rows_RC[first + t, c]
        for t in range(count, width):
            for c in range(start, stop):
                tile_CT[c, t] = 0.0


def multiplied(
    starts: Array, columns: Array, values: Array, bias_M: Array, tile_CT: Array, out_RM: Array, first: int
) -> None:
    """Write matrix times tile, plus the bias, transposed, to rows from `first` on."""
    width, outputs = tile_CT.shape[1], out_RM.shape[1]
    count = min(width, out_RM.shape[0] - first)
    block = np.empty((CACHE_LINE, width), np.float32)
    for start in range(0, outputs, CACHE_LINE):
        stop = min(start + CACHE_LINE, outputs)
        for m in range(start, stop):
            sums = block[m - start]
            for t in range(width):
                sums[t] = bias_M[m]
            k, end = starts[m], starts[m + 1]
            while k + 4 <= end:  # four at a time, so that the sums are loaded and stored less often
                a, b, c, d = values[k], values[k + 1], values[k + 2], values[k + 3]
                p, q = tile_CT[columns[k]], tile_CT[columns[k + 1]]
                r, s = tile_CT[columns[k + 2]], tile_CT[columns[k + 3]]
                for t in range(width):
                    sums[t] += a * p[t] + b * q[t] + c * r[t] + d * s[t]
                k += 4
            while k < end:
                a, p = values[k], tile_CT[columns[k]]
                for t in range(width):
                    sums[t] += a * p[t]
                k += 1
        for t in range(count):
            for m in range(start, stop):
                out_RM[first + t, m] = block[m - start, t]


def sampled(starts: Array, columns: Array, g_MT: Array, x_CT: Array, sums_K: Array) -> None:
    """Add the products of the rows of two tiles, where the matrix has a value."""
    width = g_MT.shape[1]
    for m in range(len(starts) - 1):
        g, k, end = g_MT[m], starts[m], starts[m + 1]
        while k + 4 <= end:
            p, q = x_CT[columns[k]], x_CT[columns[k + 1]]
            r, s = x_CT[columns[k + 2]], x_CT[columns[k + 3]]
            a = b = c = d = np.float32(0.0)
            for t in range(width):
                a += g[t] * p[t]
                b += g[t] * q[t]
                c += g[t] * r[t]
                d += g[t] * s[t]
            sums_K[k] += a
            sums_K[k + 1] += b
            sums_K[k + 2] += c
            sums_K[k + 3] += d
            k += 4
        while k < end:
            p, a = x_CT[columns[k]], np.float32(0.0)
            for t in range(width):
                a += g[t] * p[t]
            sums_K[k] += a
            k += 1
