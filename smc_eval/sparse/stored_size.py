"""Stored size: the bytes of a net's weights in three formats."""

from __future__ import annotations

import math

from smc_eval.sparse.net import Net

WIDTHS = (1, 2, 4, 8)
"""Bytes of the integer types."""


def stored_bytes(net: Net) -> dict[str, int]:
    """Bytes of all parameters, tied ones once. Only weights in scope are stored in sparse form.

    `dense`: every value. `bitmask`: the unpruned values, and a bit for each weight. `csr`: the unpruned
    values, a column index for each and the start of each row, both in the smallest integer type that
    holds them; the rows of a tensor of more dimensions are its first dimension.
    """
    sizes = {"dense": 0, "bitmask": 0, "csr": 0}
    for name, weight in net.model.named_parameters():
        width, size = weight.element_size(), weight.numel()
        sizes["dense"] += size * width
        if name not in net.scope:
            sizes["bitmask"] += size * width
            sizes["csr"] += size * width
            continue
        remaining = int(net.masks[name].count_nonzero()) if name in net.masks else size
        sizes["bitmask"] += remaining * width + math.ceil(size / 8)
        rows = len(weight)
        column, start = integer_width(size // max(1, rows) - 1), integer_width(remaining)
        sizes["csr"] += remaining * (width + column) + (rows + 1) * start
    return sizes


def integer_width(largest: int) -> int:
    """The fewest bytes that hold whole numbers from 0 to `largest`."""
    return next(width for width in WIDTHS if largest < 256**width)
