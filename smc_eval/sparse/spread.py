"""How a sparsity is spread over tensors: shares with ceilings, and LAMP's view of saliencies."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from smc_eval.errors import SparsityError


def shared(total: int, weights: Mapping[str, int], ceilings: Mapping[str, int]) -> dict[str, int]:
    """Share `total` in proportion to `weights`, none above its ceiling, by whole numbers that add up.

    Whoever would pass the ceiling gets the ceiling, and the others share what is left in the same
    proportion. Fractions are settled by largest remainder; of equal remainders the first by name
    is rounded up. `total` must not exceed the sum of the ceilings.
    """
    shares = dict.fromkeys(weights, 0)
    free = {name for name in weights if weights[name]}
    while full := {name for name in free if total * weights[name] > ceilings[name] * _sum(weights, free)}:
        shares |= {name: ceilings[name] for name in full}
        total -= _sum(ceilings, full)
        free -= full
    if not free:
        return shares
    whole = _sum(weights, free)
    shares |= {name: total * weights[name] // whole for name in free}
    remainders = sorted(free, key=lambda name: (-(total * weights[name] % whole), name))
    for name in remainders[: total - _sum(shares, free)]:
        shares[name] += 1
    return shares


def _sum(counts: Mapping[str, int], names: set[str]) -> int:
    return sum(counts[name] for name in names)


def lamp(saliency: Mapping[str, Tensor], within: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Layer-adaptive saliencies, comparable between tensors; Lee et al. (2021), equation 4.

    In each tensor s_u^2 / (sum of s_v^2 over all v that are kept at least as long as u): a tensor's
    largest has 1, the next at most 1/2. Of equal saliencies that of the lower flat index is kept
    longer. Dead weights (False in `within`) are in no sum and get 0. In double precision; sorts one
    tensor at a time.

    Raises:
        SparsityError: a saliency of a living weight is negative or not finite.
    """
    return {name: _lamp(name, s, None if within is None else within[name]) for name, s in saliency.items()}


@torch.no_grad()
def _lamp(name: str, saliency: Tensor, within: Tensor | None) -> Tensor:
    """Layer-adaptive saliencies of one tensor."""
    alive = slice(None) if within is None else within.reshape(-1)
    scores = torch.zeros(saliency.numel(), dtype=torch.float64, device=saliency.device)
    values = saliency.reshape(-1)[alive].double()
    if not len(values):
        return scores.view(saliency.shape)
    low, high = values.aminmax()
    if not (float(low) >= 0 and float(high) < float("inf")):
        raise SparsityError(
            f"spread 'lamp' needs finite saliencies of 0 or more; those of {name!r} "
            f"lie between {float(low):g} and {float(high):g}; choose another spread for this criterion"
        )
    ordered, order = values.sort(descending=True, stable=True)
    squares = (ordered / high).square()  # by the largest, so that none overflows
    # on the CPU sums grow term by term: the same on every device, and never out of order by rounding
    shares = squares / squares.cpu().cumsum(0).to(squares.device)
    shares[0] = 1  # also where all saliencies are 0
    values[order] = shares.nan_to_num(0)
    scores[alive] = values
    return scores.view(saliency.shape)
