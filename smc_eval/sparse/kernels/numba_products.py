"""The compiled kernel: the loops of `compiled`, through numba (`pip install smc-eval[sparse]`).

Shapes: N rows, O outputs, I inputs, T rows of a tile, B tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

from torch import Tensor

from smc_eval.errors import UsageError
from smc_eval.sparse.kernels import compiled
from smc_eval.sparse.kernels.layout import MaskLayout, Order
from smc_eval.sparse.kernels.products import Gradients

RELAXED = {"contract", "reassoc", "nsz", "arcp"}
"""What numba may do to sums: add in another order, the same at each run. NaN and infinity stay."""

Loop = Callable[..., None]


def has_numba() -> bool:
    """Whether numba is installed. It is not imported, which takes seconds."""
    return find_spec("numba") is not None


@cache
def _compiled(name: str) -> Loop:
    """A loop of `compiled`, with those that it calls."""
    try:
        import numba  # type: ignore[import-not-found,import-untyped,unused-ignore]

        from smc_eval.sparse.kernels import vectors  # noqa: F401  teaches numba the innermost steps
    except Exception as error:  # numba fits few releases of numpy, and says so in many ways
        raise UsageError(
            f"numba is installed and cannot be imported ({error}); repair or uninstall it, or leave out "
            "--kernels sparse"
        ) from error
    options: dict[str, Any] = {"fastmath": RELAXED, "nogil": True}
    njit: Any = numba.njit
    loop: Loop = getattr(compiled, name)
    try:
        return cast("Loop", njit(loop, cache=True, **options))
    except RuntimeError:  # no folder can be written; each process compiles then
        return cast("Loop", njit(loop, **options))


class NumbaProducts:
    """Compressed rows times transposed tiles, in compiled loops that transpose on the way in and out."""

    def outputs(self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, x_NI: Tensor) -> Tensor:
        x_NI = x_NI.detach().contiguous()
        outputs_NO = x_NI.new_empty(len(x_NI), layout.outputs)
        tile_IT = x_NI.new_empty(layout.inputs, _width(len(x_NI)))
        matrix = _matrix(layout.by_output, weight, bias_O)
        _compiled("outputs")(matrix, x_NI.numpy(), tile_IT.numpy(), outputs_NO.numpy())
        return outputs_NO

    def prepared(self, x_NI: Tensor) -> Tensor:
        """[B, I, T]. Of the last tile only the columns that hold rows count, up to a whole square."""
        x_NI = x_NI.detach().contiguous()
        width = _width(len(x_NI))
        kept = x_NI.new_empty(-(-len(x_NI) // width), x_NI.shape[1], width)
        _compiled("fill_tiles")(x_NI.numpy(), kept.numpy())
        return kept

    def outputs_of(
        self, layout: MaskLayout, weight: Tensor, bias_O: Tensor | None, kept: Tensor, rows: int
    ) -> Tensor:
        outputs_NO = weight.new_empty(rows, layout.outputs)
        matrix = _matrix(layout.by_output, weight, bias_O)
        _compiled("outputs_of")(matrix, kept.numpy(), outputs_NO.numpy())
        return outputs_NO

    def gradients(
        self, layout: MaskLayout, weight: Tensor, g_NO: Tensor, kept: Tensor, *, of_x: bool, of_weight: bool
    ) -> Gradients:
        of_x_NI = g_NO.new_empty(len(g_NO) if of_x else 0, layout.inputs)
        sums_K = g_NO.new_zeros(layout.count if of_weight else 0)
        crossed = _matrix(layout.by_input, weight, None)
        parts = layout.by_output.starts, layout.by_output.columns_K, sums_K, sums_K
        matrix = compiled.CompressedRows(*(part.numpy() for part in parts))  # its values are not read
        arrays = [each.numpy() for each in (g_NO.contiguous(), kept, of_x_NI, sums_K)]
        _compiled("gradients")(matrix, crossed, *arrays)
        return of_x_NI if of_x else None, layout.scattered(sums_K) if of_weight else None


def _width(rows: int) -> int:
    """Rows of each tile, at least one square of the loops."""
    return max(compiled.SIDE, compiled.used(rows, compiled.WIDEST))


def _matrix(order: Order, weight: Tensor, bias: Tensor | None) -> compiled.CompressedRows:
    bias = weight.new_zeros(order.shape[0]) if bias is None else bias.detach().contiguous()
    parts = order.starts, order.columns_K, order.values(weight), bias
    return compiled.CompressedRows(*(part.numpy() for part in parts))
