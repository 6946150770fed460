"""The innermost steps of the compiled kernel on whole vectors, as instructions that numba builds in.

numba's own loops load and store each sum at each weight, and swap rows and columns number by number. These
keep sums in registers, and swap in registers. They are written for any width of registers.
Import this file only where numba can be imported: it teaches numba the steps of `compiled`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-not-found,import-untyped,unused-ignore]
from numba import types  # type: ignore[import-not-found,import-untyped,unused-ignore]
from numba.extending import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    intrinsic,
    overload,
    register_jitable,
)

from smc_eval.sparse.kernels import compiled
from smc_eval.sparse.kernels.compiled import SIDE

NUMBER, COLUMN, PLACE = ir.FloatType(), ir.IntType(32), ir.IntType(64)
ANY_ORDER = ("contract", "reassoc", "nsz")
"""What may be done to sums: fused, and added in another order, the same at each run."""

Built = Any
"""A value or a builder of llvmlite, which has no types."""


def _splat(builder: Built, number: Built, lanes: int) -> Built:
    """A vector with one number in each lane."""
    first = builder.insert_element(ir.Constant(ir.VectorType(NUMBER, lanes), ir.Undefined), number, COLUMN(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(COLUMN, lanes), [0] * lanes))


def _at(builder: Built, address: Built, place: Built, kind: Built) -> Built:
    """A pointer to a value of some kind, `place` numbers of four bytes after an address."""
    return builder.inttoptr(builder.add(address, builder.mul(place, PLACE(4))), kind.as_pointer())


def _loaded(builder: Built, address: Built, place: Built, kind: Built) -> Built:
    value = builder.load(_at(builder, address, place, kind))
    value.align = 4
    return value


def _stored(builder: Built, value: Built, address: Built, place: Built) -> None:
    builder.store(value, _at(builder, address, place, value.type)).align = 4


def _repeated(
    builder: Built,
    start: Built,
    end: Built,
    step: int,
    carried: Sequence[Built],
    body: Callable[[Built, Sequence[Built]], Sequence[Built]],
) -> tuple[Built, list[Built]]:
    """A loop over k = start, start + step and so on, while k + step <= end.

    Returns the first k that is left, and what was carried.
    """
    before = builder.block
    head, within, after = (builder.append_basic_block(name) for name in ("head", "within", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    k, phis = builder.phi(PLACE), [builder.phi(each.type) for each in carried]
    for phi, first in zip((k, *phis), (start, *carried), strict=True):
        phi.add_incoming(first, before)
    builder.cbranch(builder.icmp_signed("<=", builder.add(k, PLACE(step)), end), within, after)
    builder.position_at_end(within)
    found = body(k, phis)
    for phi, following in zip((k, *phis), (builder.add(k, PLACE(step)), *found), strict=True):
        phi.add_incoming(following, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return k, phis


def _swapping() -> Any:
    """Swap rows and columns of a square: four rounds that interleave its upper and its lower rows."""
    vector, half = ir.VectorType(NUMBER, SIDE), SIDE // 2
    ends = [
        ir.Constant(ir.VectorType(COLUMN, SIDE), [x for i in range(at, at + half) for x in (i, SIDE + i)])
        for at in (0, half)
    ]

    def written(context: Any, builder: Built, _: Any, args: Any) -> Built:
        source, width, target, target_width = args
        rows = [_loaded(builder, source, builder.mul(width, PLACE(row)), vector) for row in range(SIDE)]
        for _ in range(SIDE.bit_length() - 1):
            pairs = zip(rows[:half], rows[half:], strict=True)
            rows = [builder.shuffle_vector(a, b, end) for a, b in pairs for end in ends]
        for row, value in enumerate(rows):
            _stored(builder, value, target, builder.mul(target_width, PLACE(row)))
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator,unused-ignore]
    def swap(_: Any, source: Any, width: Any, target: Any, target_width: Any) -> Any:
        return types.void(source, width, target, target_width), written

    return swap


def _summing(lanes: int, at_once: int) -> Any:
    """A row of a matrix times `lanes` columns of a tile, some values at once; the sums stay in registers."""
    vector = ir.VectorType(NUMBER, lanes)

    def written(context: Any, builder: Built, _: Any, args: Any) -> Built:
        values, columns, start, end, bias, tile, width, sums = args

        def added(k: Built, totals: Sequence[Built]) -> list[Built]:
            found = []
            for number, so_far in enumerate(totals):
                place = builder.add(k, PLACE(number))
                column = builder.sext(_loaded(builder, columns, place, COLUMN), PLACE)
                part = _loaded(builder, tile, builder.mul(column, width), vector)
                weight = _splat(builder, _loaded(builder, values, place, NUMBER), lanes)
                product = builder.fmul(weight, part, flags=ANY_ORDER)
                found.append(builder.fadd(so_far, product, flags=ANY_ORDER))
            return found

        zero = _splat(builder, NUMBER(0.0), lanes)
        first = [_splat(builder, bias, lanes), *[zero] * (at_once - 1)]
        k, (whole, *others) = _repeated(builder, start, end, at_once, first, added)
        for other in others:
            whole = builder.fadd(whole, other, flags=ANY_ORDER)
        if others:
            _, (whole,) = _repeated(builder, k, end, 1, [whole], added)
        _stored(builder, whole, sums, PLACE(0))
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator,unused-ignore]
    def total(  # noqa: PLR0913, PLR0917  numba hands over each number by itself
        _: Any, values: Any, columns: Any, start: Any, end: Any, bias: Any, tile: Any, width: Any, sums: Any
    ) -> Any:
        return types.void(values, columns, start, end, bias, tile, width, sums), written

    return total


def _dotting(lanes: int) -> Any:
    """A row of one tile times the rows of another at which a row of a matrix has values."""
    vector, narrow = ir.VectorType(NUMBER, lanes), ir.VectorType(NUMBER, SIDE)
    parts = [
        ir.Constant(ir.VectorType(COLUMN, SIDE), list(range(at, at + SIDE))) for at in range(0, lanes, SIDE)
    ]

    def written(context: Any, builder: Built, _: Any, args: Any) -> Built:
        columns, start, end, g, tile, width, sums = args
        own = _loaded(builder, g, PLACE(0), vector)
        reduce = builder.module.declare_intrinsic(
            f"llvm.vector.reduce.fadd.v{SIDE}f32", (), ir.FunctionType(NUMBER, (NUMBER, narrow))
        )

        def added(k: Built, _: Sequence[Built]) -> list[Built]:
            column = builder.sext(_loaded(builder, columns, k, COLUMN), PLACE)
            part = _loaded(builder, tile, builder.mul(column, width), vector)
            product = builder.fmul(own, part, flags=ANY_ORDER)
            pieces = [builder.shuffle_vector(product, product, part) for part in parts]
            while len(pieces) > 1:
                pairs = zip(pieces[::2], pieces[1::2], strict=True)
                pieces = [builder.fadd(a, b, flags=ANY_ORDER) for a, b in pairs]
            before = _loaded(builder, sums, k, NUMBER)
            _stored(builder, builder.call(reduce, (before, *pieces), fastmath=ANY_ORDER), sums, k)
            return []

        _repeated(builder, start, end, 1, [], added)
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator,unused-ignore]
    def dots(_: Any, columns: Any, start: Any, end: Any, g: Any, tile: Any, width: Any, sums: Any) -> Any:
        return types.void(columns, start, end, g, tile, width, sums), written

    return dots


def _teach_sum(step: Any, total: Any) -> None:
    @overload(step)  # type: ignore[untyped-decorator,unused-ignore]
    def typed(matrix: Any, m: Any, tile: Any, t: Any, sums: Any, row: Any) -> Any:  # noqa: ARG001
        def compiled_step(matrix: Any, m: Any, tile: Any, t: Any, sums: Any, row: Any) -> None:
            start, end = np.int64(matrix.starts[m]), np.int64(matrix.starts[m + 1])
            values, columns = matrix.values.ctypes.data, matrix.columns.ctypes.data
            base, width = tile.ctypes.data + 4 * t, tile.shape[1]
            to = sums.ctypes.data + 4 * (row * sums.shape[1] + t)
            total(values, columns, start, end, matrix.bias[m], base, width, to)

        return compiled_step if _are_plain(tile, sums) and _is_plain(matrix) else None


def _teach_dots(step: Any, dots: Any) -> None:
    @overload(step)  # type: ignore[untyped-decorator,unused-ignore]
    def typed(matrix: Any, m: Any, g_MT: Any, tile: Any, t: Any, sums_K: Any) -> Any:  # noqa: ARG001
        def compiled_step(matrix: Any, m: Any, g_MT: Any, tile: Any, t: Any, sums_K: Any) -> None:
            start, end = np.int64(matrix.starts[m]), np.int64(matrix.starts[m + 1])
            own = g_MT.ctypes.data + 4 * (m * g_MT.shape[1] + t)
            base, width = tile.ctypes.data + 4 * t, tile.shape[1]
            dots(matrix.columns.ctypes.data, start, end, own, base, width, sums_K.ctypes.data)

        return compiled_step if _are_plain(g_MT, tile) and _is_plain(matrix) else None


def _teach_swap(step: Any, swap: Any) -> None:
    @overload(step)  # type: ignore[untyped-decorator,unused-ignore]
    def typed(source: Any, row: Any, column: Any, target: Any, to_row: Any, to_column: Any) -> Any:  # noqa: ARG001
        def compiled_step(
            source: Any, row: Any, column: Any, target: Any, to_row: Any, to_column: Any
        ) -> None:
            width, to_width = source.shape[1], target.shape[1]
            own = source.ctypes.data + 4 * (row * width + column)
            swap(own, width, target.ctypes.data + 4 * (to_row * to_width + to_column), to_width)

        return compiled_step if _are_plain(source, target) else None


def _are_plain(*arrays: Any) -> bool:
    """Whether arrays are matrices of numbers of four bytes, row by row; addresses are computed for these."""
    return all(each == types.Array(types.float32, 2, "C") for each in arrays)


def _is_plain(matrix: Any) -> bool:
    """Whether the arrays of a `CompressedRows` are of the types that addresses are computed for."""
    indices, numbers = (types.Array(kind, 1, "C") for kind in (types.int32, types.float32))
    return tuple(matrix.types) == (indices, indices, numbers, numbers)


_teach_swap(compiled.swap_square, _swapping())
_teach_sum(compiled.sum_wide, _summing(compiled.WIDE, 1))
_teach_sum(compiled.sum_narrow, _summing(compiled.SIDE, 4))
_teach_dots(compiled.dot_wide, _dotting(compiled.WIDEST))
_teach_dots(compiled.dot_narrow, _dotting(compiled.SIDE))
for loop in (compiled.used, compiled.transposed, compiled.multiplied, compiled.sampled):
    register_jitable(loop)
