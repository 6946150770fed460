"""Exact selection of the largest values over many tensors, without joining or sorting them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup

VALUES_AT_ONCE = 1 << 19
"""Values that are processed together: enough for vector units, few enough for caches."""

FEW_VALUES = 1 << 17
"""So many values on a CPU are parted at the threshold: the tables of digits would take longer."""

DIGITS = 1 << 16
"""Values of one digit: the search takes 16 bits of the floats at a time."""

BITS = {torch.float32: torch.int32, torch.float64: torch.int64}
FLOATS = (torch.float16, torch.bfloat16, *BITS)


@torch.no_grad()
def largest(
    saliency: Mapping[str, Tensor],
    keep: int,
    within: Mapping[str, Tensor] | None = None,
    shards: ShardGroup = UNSHARDED,
) -> dict[str, Tensor]:
    """Masks of exactly the `keep` largest values over all tensors together; True stays.

    Where more values tie at the threshold than may stay, those of the first tensor by name stay,
    and within a tensor those of lowest flat index. Negative and infinite values are ordered as
    usual, and -0.0 ties with 0.0.

    The threshold is found by a radix search over the bits of the floats: the upper halves are
    counted, then the lower halves of the values with the upper half found. Beyond the masks it
    needs some megabytes, for any number of values. Few values are copied and parted.

    Args:
        within: bool tensors of the same names and shapes; a value may stay only where they are True.
        shards: the holders of the other rows, where all tensors are sharded by rows. `keep` is of all
            rows; the masks are of this holder's rows.

    Raises:
        SparsityError: `keep` is negative or more than may stay, or `check_saliencies` refuses a value.
    """
    check_saliencies(saliency, within, shards)
    total = available(saliency, within, shards)
    if not 0 <= keep <= total:
        raise SparsityError(f"cannot keep {keep} of {total} weights; ask for 0 to {total}")
    masks = {
        name: torch.zeros(values.shape, dtype=torch.bool, device=values.device)
        for name, values in saliency.items()
    }
    if keep == 0:
        return masks
    threshold = _kth_largest(keep, saliency, within, masks, shards)
    above = 0
    for _, values, unpruned, stays in _pieces(saliency, within, masks):
        torch.gt(values, threshold, out=stays)
        if unpruned is not None:
            stays.logical_and_(unpruned)
        above += int(stays.count_nonzero())
    keep -= shards.sums([above])[0]
    if keep == 0:
        return masks
    shares = _shares(saliency, keep, within, masks, threshold, shards) if shards.size > 1 else None
    for name, values, unpruned, stays in _pieces(saliency, within, masks):
        room = keep if shares is None else shares[name]
        if room:
            first = _ties(values, unpruned, threshold).nonzero()[:room, 0]
            stays[first] = True
            if shares is not None:
                shares[name] -= len(first)
            else:
                keep -= len(first)
        elif shares is None:
            break
    return masks


def _ties(values: Tensor, unpruned: Tensor | None, threshold: float) -> Tensor:
    ties = values == threshold
    return ties if unpruned is None else ties.logical_and_(unpruned)


def _shares(
    saliency: Mapping[str, Tensor],
    keep: int,
    within: Mapping[str, Tensor] | None,
    masks: Mapping[str, Tensor],
    threshold: float,
    shards: ShardGroup,
) -> dict[str, int]:
    """How many ties stay in this holder's rows of each tensor; ties of lower rows stay first."""
    tied = dict.fromkeys(sorted(saliency), 0)
    for name, values, unpruned, _ in _pieces(saliency, within, masks):
        tied[name] += int(_ties(values, unpruned, threshold).count_nonzero())
    shares = dict[str, int]()
    for name, holders in zip(tied, zip(*shards.gather(list(tied.values())), strict=True), strict=True):
        before = sum(holders[: shards.rank])
        shares[name] = max(0, min(holders[shards.rank], keep - before))
        keep = max(0, keep - sum(holders))
    return shares


def check_saliencies(
    saliency: Mapping[str, Tensor], within: Mapping[str, Tensor] | None, shards: ShardGroup = UNSHARDED
) -> None:
    """Refuse saliencies that cannot be compared, and masks of other shapes; on all holders if on one.

    Raises:
        SparsityError: a value is NaN or not a float; a mask is missing, not bool, or of another shape.
    """
    for name, values in saliency.items():
        if values.dtype not in FLOATS:
            raise SparsityError(f"saliencies of {name!r} are {values.dtype}; wanted floats")
        if within is None:
            continue
        if name not in within:
            raise SparsityError(f"saliencies name {name!r}, which has no mask; masks: {', '.join(within)}")
        unpruned = within[name]
        if unpruned.shape != values.shape or unpruned.dtype != torch.bool:
            raise SparsityError(
                f"the mask of {name!r} is {unpruned.dtype} of shape {tuple(unpruned.shape)}; "
                f"wanted torch.bool of shape {tuple(values.shape)}, as its saliencies"
            )
    # a minimum is NaN if one value is
    nans = shards.sums(bool(v.numel() and bool(v.amin().isnan())) for v in saliency.values())
    for name, count in zip(saliency, nans, strict=True):
        if count:
            raise SparsityError(f"a saliency of {name!r} is NaN; every weight needs a number")


def available(
    saliency: Mapping[str, Tensor], within: Mapping[str, Tensor] | None, shards: ShardGroup = UNSHARDED
) -> int:
    """The most weights that may stay: all, or those that are True in `within`."""
    if within is None:
        return sum(shards.sums(values.numel() for values in saliency.values()))
    return sum(shards.count(within[name] for name in saliency))


def _kth_largest(
    rank: int,
    saliency: Mapping[str, Tensor],
    within: Mapping[str, Tensor] | None,
    masks: Mapping[str, Tensor],
    shards: ShardGroup,
) -> float:
    """The value at `rank`, counted from 1, of the unpruned values in descending order."""
    dtype = _common(saliency)
    if shards.size == 1 and _are_few(saliency):
        few = [
            values.numpy() if unpruned is None else values.numpy()[unpruned.numpy()]
            for _, values, unpruned, _ in _pieces(saliency, within, masks)
        ]
        joined = np.concatenate(few)
        return float(np.partition(joined, len(joined) - rank)[len(joined) - rank])
    prefix: int | None = None
    for shift in range(dtype.itemsize * 8 - 16, -1, -16):
        counts = torch.zeros(DIGITS, dtype=torch.int64)
        for _, values, unpruned, _ in _pieces(saliency, within, masks):
            counts += _count(values, unpruned, shift, prefix).cpu()
        shards.add(counts)
        order = _descending(prefix)
        reached = counts[order].cumsum(0)
        place = int((reached < rank).count_nonzero())
        digit = int(order[place])
        rank -= int(reached[place] - counts[digit])
        if prefix is None:
            prefix = digit - DIGITS if digit >= DIGITS // 2 else digit
        else:
            prefix = prefix << 16 | digit
    return float(torch.tensor(prefix, dtype=BITS[dtype]).view(dtype))


def _are_few(saliency: Mapping[str, Tensor]) -> bool:
    """Whether all values together are few, and on a CPU."""
    return sum(values.numel() for values in saliency.values()) <= FEW_VALUES and all(
        values.device.type == "cpu" for values in saliency.values()
    )


def _descending(prefix: int | None) -> Tensor:
    """Digits that follow `prefix`, in the order from the largest float to the smallest.

    A float is a sign and a magnitude: below zero, larger bits mean a smaller number. The sign is the
    first bit of the first digit, the one without a prefix.
    """
    digits = torch.arange(DIGITS)
    if prefix is None:
        positive, negative = digits.chunk(2)
        return torch.cat((positive.flip(0), negative))
    return digits if prefix < 0 else digits.flip(0)


def _count(values: Tensor, unpruned: Tensor | None, shift: int, prefix: int | None) -> Tensor:
    """How often each digit occurs at `shift`, in unpruned values whose higher bits are `prefix`."""
    bits = values.view(BITS[values.dtype])
    if prefix is not None:
        chosen = bits >> shift + 16 == prefix
        if unpruned is not None:
            chosen &= unpruned
        return torch.bincount(bits[chosen] >> shift & DIGITS - 1, minlength=DIGITS)
    digits = bits >> shift & DIGITS - 1
    if unpruned is None:
        return torch.bincount(digits, minlength=DIGITS)
    # bins for pruned and for unpruned values: indexing by a random mask takes three times as long
    return torch.bincount(torch.add(digits, unpruned, alpha=DIGITS), minlength=2 * DIGITS)[DIGITS:]


def _pieces(
    saliency: Mapping[str, Tensor], within: Mapping[str, Tensor] | None, masks: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor | None, Tensor]]:
    """Flat pieces in the order of ties: tensor name, values, unpruned weights, and a view of the mask."""
    dtype = _common(saliency)
    for name in sorted(saliency):
        tensors = [saliency[name].detach(), masks[name]]
        if within is not None:
            tensors.append(within[name])
        for values, stays, *unpruned in _split(tensors):
            yield name, values.to(dtype), unpruned[0] if unpruned else None, stays


def _split(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Split tensors of one shape into the same flat pieces, in row-major order.

    A piece is a view if possible. Tensors that are not contiguous are copied, one piece at a time.
    """
    size = tensors[0].numel()
    if size <= VALUES_AT_ONCE or all(tensor.is_contiguous() for tensor in tensors):
        flat = [tensor.reshape(-1) for tensor in tensors]
        for start in range(0, size, VALUES_AT_ONCE):
            yield [values[start : start + VALUES_AT_ONCE] for values in flat]
        return
    rows = VALUES_AT_ONCE // (size // len(tensors[0]))
    for start in range(0, len(tensors[0]), max(1, rows)):
        if rows:
            yield [tensor[start : start + rows].reshape(-1) for tensor in tensors]
        else:
            yield from _split([tensor[start] for tensor in tensors])


def _common(saliency: Mapping[str, Tensor]) -> torch.dtype:
    """The float type that represents every value exactly: double if a tensor is double, else single."""
    double = any(values.dtype == torch.float64 for values in saliency.values())
    return torch.float64 if double else torch.float32
