"""The compiled kernel: the loops of `compiled`, through numba (`pip install smc-eval[sparse]`).

Shapes: N rows, O outputs, I inputs, T rows of a tile, B tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from smc_eval.errors import UsageError
from smc_eval.sparse.kernels import compiled
from smc_eval.sparse.kernels.layout import MaskLayout, Order
from smc_eval.sparse.kernels.products import Gradients, tiling

RELAXED = {"contract", "reassoc", "nsz", "arcp"}
"""What numba may do to sums: add in another order, the same at each run. NaN and infinity stay."""

Loop = Callable[..., None]


def has_numba() -> bool:
    """Whether numba is installed. It is not imported, which takes seconds."""
    return find_spec("numba") is not None


@cache
def _compiled(loop: Loop) -> Loop:
    try:
        import numba  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except Exception as error:  # numba fits few releases of numpy, and says so in many ways
        raise UsageError(
            f"numba is installed and cannot be imported ({error}); repair or uninstall it, or leave out "
            "--kernels sparse"
        ) from error
    options = {"fastmath": RELAXED, "nogil": True}
    try:
        jitted: Loop = numba.njit(loop, cache=True, **options)
    except RuntimeError:  # no folder can be written; each process compiles then
        jitted = numba.njit(loop, **options)
    return jitted


class NumbaProducts:
    """Compressed rows times transposed tiles, in compiled loops that transpose on the way in and out."""

    def outputs(self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, x_NI: Tensor) -> Tensor:
        x_NI = x_NI.detach().contiguous()
        count, width = tiling(len(x_NI))
        tile_IT = x_NI.new_empty(layout.inputs, width)
        outputs_NO = x_NI.new_empty(len(x_NI), layout.outputs)
        matrix = _Matrix(layout.by_output, weight, bias_O)
        for first in range(0, count * width, width):
            _transpose(x_NI, tile_IT, first)
            matrix.multiply(tile_IT, outputs_NO, first)
        return outputs_NO

    def prepared(self, x_NI: Tensor) -> Tensor:
        """[B, I, T], zero after the last row."""
        x_NI = x_NI.detach().contiguous()
        count, width = tiling(len(x_NI))
        kept = x_NI.new_empty(count, x_NI.shape[1], width)
        for number, tile_IT in enumerate(kept):
            _transpose(x_NI, tile_IT, number * width)
        return kept

    def outputs_of(
        self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, kept: Tensor, rows: int
    ) -> Tensor:
        outputs_NO = weight.new_empty(rows, layout.outputs)
        matrix = _Matrix(layout.by_output, weight, bias_O)
        for number, tile_IT in enumerate(kept):
            matrix.multiply(tile_IT, outputs_NO, number * kept.shape[2])
        return outputs_NO

    def gradients(
        self, layout: MaskLayout, weight: Tensor, g_NO: Tensor, kept: Tensor, *, of_x: bool, of_weight: bool
    ) -> Gradients:
        g_NO, width = g_NO.contiguous(), kept.shape[2]
        tile_OT = g_NO.new_empty(layout.outputs, width)
        x_gradient = g_NO.new_empty(len(g_NO), layout.inputs) if of_x else None
        matrix = _Matrix(layout.by_input, weight, None)
        order, sums_K = layout.by_output, g_NO.new_zeros(layout.count)
        starts, columns = order.starts.numpy(), order.columns_K.numpy()
        for number, x_IT in enumerate(kept):
            _transpose(g_NO, tile_OT, number * width)
            if x_gradient is not None:
                matrix.multiply(tile_OT, x_gradient, number * width)
            if of_weight:
                loop = _compiled(compiled.sampled)
                loop(starts, columns, tile_OT.numpy(), x_IT.numpy(), sums_K.numpy())
        return x_gradient, layout.scattered(sums_K) if of_weight else None


class _Matrix:
    """A matrix in compressed rows with its bias, as arrays."""

    def __init__(self, order: Order, weight: Tensor, bias: Tensor | None) -> None:
        bias = torch.zeros(order.shape[0]) if bias is None else bias.detach().contiguous()
        parts = order.starts, order.columns_K, order.values(weight), bias
        self._parts = [part.numpy() for part in parts]

    def multiply(self, tile: Tensor, out: Tensor, first: int) -> None:
        """Write the products with a tile to the rows of `out` from `first` on."""
        _compiled(compiled.multiplied)(*self._parts, tile.numpy(), out.numpy(), first)


def _transpose(rows: Tensor, tile: Tensor, first: int) -> None:
    _compiled(compiled.transposed)(rows.numpy(), tile.numpy(), first)
