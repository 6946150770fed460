"""Exact selection of the largest values over many tensors, never joined and never sorted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup

STRETCH = 1 << 19
"""Values looked at together: many enough for vector units, few enough for caches."""

DIGITS = 1 << 16
"""The search goes digit by digit, a digit being 16 bits of a float."""

BITS = {torch.float32: torch.int32, torch.float64: torch.int64}
FLOATS = (torch.float16, torch.bfloat16, *BITS)


@torch.no_grad()
def largest(
    saliency: Mapping[str, Tensor],
    keep: int,
    within: Mapping[str, Tensor] | None = None,
    shards: ShardGroup = UNSHARDED,
) -> dict[str, Tensor]:
    """Masks of the `keep` largest values over all tensors together, True stays: exactly so many.

    Where more values tie at the threshold than may stay, those of the first tensor by name stay,
    and in one tensor those of the lowest flat index. Negative and infinite values have their
    usual place, and -0.0 ties with 0.0.

    The threshold is found by a radix search over the bits of the floats: the upper halves are
    counted, then the lower halves of those that share the upper half sought. Beyond the masks it
    needs some megabytes, however many values there are.

    Args:
        within: bool tensors of the same names and shapes; only where they are True a value may stay.
        crowd: who holds the other rows, where all tensors are cut by rows; `keep` is of all rows, and
            each gets the mask of its own.

    Raises:
        SparsityError: `keep` is negative or more than there is, or `check_saliencies` refuses a value.
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
    threshold = _kth_largest(saliency, keep, within, masks, shards)
    above = 0
    for _, values, alive, stays in _stretches(saliency, within, masks):
        torch.gt(values, threshold, out=stays)
        if alive is not None:
            stays.logical_and_(alive)
        above += int(stays.count_nonzero())
    keep -= shards.sums([above])[0]
    if keep == 0:
        return masks
    shares = _shares(saliency, keep, within, masks, threshold, shards) if shards.size > 1 else None
    for name, values, alive, stays in _stretches(saliency, within, masks):
        room = keep if shares is None else shares[name]
        if room:
            first = _ties(values, alive, threshold).nonzero()[:room, 0]
            stays[first] = True
            if shares is not None:
                shares[name] -= len(first)
            else:
                keep -= len(first)
        elif shares is None:
            break
    return masks


def _ties(values: Tensor, alive: Tensor | None, threshold: float) -> Tensor:
    ties = values == threshold
    return ties if alive is None else ties.logical_and_(alive)


def _shares(
    saliency: Mapping[str, Tensor],
    keep: int,
    within: Mapping[str, Tensor] | None,
    masks: Mapping[str, Tensor],
    threshold: float,
    shards: ShardGroup,
) -> dict[str, int]:
    """How many ties stay of one's own rows of each tensor: those of lower rows go first."""
    tied = dict.fromkeys(sorted(saliency), 0)
    for name, values, alive, _ in _stretches(saliency, within, masks):
        tied[name] += int(_ties(values, alive, threshold).count_nonzero())
    shares = dict[str, int]()
    for name, holders in zip(tied, zip(*shards.gather(list(tied.values())), strict=True), strict=True):
        before = sum(holders[: shards.rank])
        shares[name] = max(0, min(holders[shards.rank], keep - before))
        keep = max(0, keep - sum(holders))
    return shares


def check_saliencies(
    saliency: Mapping[str, Tensor], within: Mapping[str, Tensor] | None, shards: ShardGroup = UNSHARDED
) -> None:
    """Refuse saliencies that cannot be compared and masks that are not theirs: all of a crowd alike.

    Raises:
        SparsityError: a value is NaN or no float; a mask is missing, not bool, or of another shape.
    """
    for name, values in saliency.items():
        if values.dtype not in FLOATS:
            raise SparsityError(f"saliencies of {name!r} are {values.dtype}; wanted floats")
        if within is None:
            continue
        if name not in within:
            raise SparsityError(f"saliencies name {name!r}, which has no mask; masks: {', '.join(within)}")
        alive = within[name]
        if alive.shape != values.shape or alive.dtype != torch.bool:
            raise SparsityError(
                f"the mask of {name!r} is {alive.dtype} of shape {tuple(alive.shape)}; "
                f"wanted torch.bool of shape {tuple(values.shape)}, as its saliencies"
            )
    # a single NaN spoils a minimum
    none = shards.sums(bool(v.numel() and bool(v.amin().isnan())) for v in saliency.values())
    for name, found in zip(saliency, none, strict=True):
        if found:
            raise SparsityError(f"a saliency of {name!r} is NaN; every weight must be worth a number")


def available(
    saliency: Mapping[str, Tensor], within: Mapping[str, Tensor] | None, shards: ShardGroup = UNSHARDED
) -> int:
    """How many weights may stay at most: all of them, or those that are True in `within`."""
    if within is None:
        return sum(shards.sums(values.numel() for values in saliency.values()))
    return sum(shards.count(within[name] for name in saliency))


def _kth_largest(
    saliency: Mapping[str, Tensor],
    rank: int,
    within: Mapping[str, Tensor] | None,
    masks: Mapping[str, Tensor],
    shards: ShardGroup,
) -> float:
    """The value that stands at `rank`, counted from 1, when the alive ones are in descending order."""
    dtype = _common(saliency)
    prefix: int | None = None
    for shift in range(dtype.itemsize * 8 - 16, -1, -16):
        counts = torch.zeros(DIGITS, dtype=torch.int64)
        for _, values, alive, _ in _stretches(saliency, within, masks):
            counts += _count(values, alive, shift, prefix).cpu()
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


def _descending(prefix: int | None) -> Tensor:
    """Digits that follow `prefix`, from that of the largest float to that of the smallest.

    A float is a sign and a magnitude: below zero, more bits are less. Its sign is the first bit of
    the first digit, which stands where there is no prefix yet.
    """
    digits = torch.arange(DIGITS)
    if prefix is None:
        positive, negative = digits.chunk(2)
        return torch.cat((positive.flip(0), negative))
    return digits if prefix < 0 else digits.flip(0)


def _count(values: Tensor, alive: Tensor | None, shift: int, prefix: int | None) -> Tensor:
    """How often each digit stands at `shift` in alive values, of those whose bits above are `prefix`."""
    bits = values.view(BITS[values.dtype])
    if prefix is not None:
        chosen = bits >> shift + 16 == prefix
        if alive is not None:
            chosen &= alive
        return torch.bincount(bits[chosen] >> shift & DIGITS - 1, minlength=DIGITS)
    digits = bits >> shift & DIGITS - 1
    if alive is None:
        return torch.bincount(digits, minlength=DIGITS)
    # two sets of bins, dead and alive: choosing by a mask that looks like noise takes thrice as long
    return torch.bincount(torch.add(digits, alive, alpha=DIGITS), minlength=2 * DIGITS)[DIGITS:]


def _stretches(
    saliency: Mapping[str, Tensor], within: Mapping[str, Tensor] | None, masks: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor | None, Tensor]]:
    """Flat pieces in the order of ties: whose, values, what is alive, and a view of the mask."""
    dtype = _common(saliency)
    for name in sorted(saliency):
        tensors = [saliency[name].detach(), masks[name]]
        if within is not None:
            tensors.append(within[name])
        for values, stays, *alive in _pieces(tensors):
            yield name, values.to(dtype), alive[0] if alive else None, stays


def _pieces(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Cut tensors of one shape alike into flat pieces, in row-major order.

    A piece is a view where it can be: what lies scattered in memory is copied, but never more than
    one piece of it at a time.
    """
    size = tensors[0].numel()
    if size <= STRETCH or all(tensor.is_contiguous() for tensor in tensors):
        flat = [tensor.reshape(-1) for tensor in tensors]
        for start in range(0, size, STRETCH):
            yield [values[start : start + STRETCH] for values in flat]
        return
    rows = STRETCH // (size // len(tensors[0]))
    for start in range(0, len(tensors[0]), max(1, rows)):
        if rows:
            yield [tensor[start : start + rows].reshape(-1) for tensor in tensors]
        else:
            yield from _pieces([tensor[start] for tensor in tensors])


def _common(saliency: Mapping[str, Tensor]) -> torch.dtype:
    """The float that holds every value exactly: single precision, or double if one tensor is."""
    double = any(values.dtype == torch.float64 for values in saliency.values())
    return torch.float64 if double else torch.float32
