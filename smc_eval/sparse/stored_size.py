"""Sizes: the bytes that a net's weights take, stored in one way or another."""

from __future__ import annotations

import math

from smc_eval.sparse.net import Net

WIDTHS = (1, 2, 4, 8)
"""Bytes that a whole number may take."""


def stored(net: Net) -> dict[str, int]:
    """Bytes of all parameters, tied ones once; in scope as stored, the rest as they are.

    `dense`: every value. `bitmask`: the survivors' values, and a bit for each weight. `csr`: the
    survivors' values, a column for each and where each row begins, both in the smallest width that
    holds them; a tensor of more dimensions has its first for rows.
    """
    found = {"dense": 0, "bitmask": 0, "csr": 0}
    for name, weight in net.model.named_parameters():
        width, size = weight.element_size(), weight.numel()
        found["dense"] += size * width
        if name not in net.scope:
            found["bitmask"] += size * width
            found["csr"] += size * width
            continue
        kept = int(net.masks[name].count_nonzero()) if name in net.masks else size
        found["bitmask"] += kept * width + math.ceil(size / 8)
        rows = len(weight)
        column, start = holding(size // max(1, rows) - 1), holding(kept)
        found["csr"] += kept * (width + column) + (rows + 1) * start
    return found


def holding(largest: int) -> int:
    """The fewest bytes that hold whole numbers from 0 to this one."""
    return next(width for width in WIDTHS if largest < 256**width)
