"""Distributions of a sparsity over tensors: capped shares, LAMP's saliencies and OWL's densities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.blocks import blocks_and_others

NameOrNumber = TypeVar("NameOrNumber", str, int)

OUTLIER_MULTIPLE = 5.0
"""M of OWL: an outlier is larger than this many times the mean of its block."""

MAX_DEVIATION = 0.08
"""Lambda of OWL: how far a block's density may lie from the target's."""


def share_out(
    total: int, weights: Mapping[NameOrNumber, int], ceilings: Mapping[NameOrNumber, int]
) -> dict[NameOrNumber, int]:
    """Divide `total` into whole numbers in proportion to `weights`, none above its ceiling.

    A share that would pass its ceiling is set to the ceiling, and the others share the rest in the same
    proportion. Fractions are settled by largest remainder; of equal remainders the first by name is
    rounded up. `total` must not exceed the sum of the ceilings.
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


def _sum(counts: Mapping[NameOrNumber, int], names: set[NameOrNumber]) -> int:
    return sum(counts[name] for name in names)


def lamp(saliency: Mapping[str, Tensor], within: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Layer-adaptive saliencies, comparable between tensors; Lee et al. (2021), equation 4.

    In each tensor: s_u^2 / (sum of s_v^2 over all v that are kept at least as long as u). The largest
    of a tensor gets 1, the next at most 1/2. Of equal saliencies the one of lower flat index is kept
    longer. Pruned weights (False in `within`) are in no sum and get 0. In double precision; sorts one
    tensor at a time.

    Raises:
        SparsityError: a saliency of an unpruned weight is negative or not finite.
    """
    return {name: _lamp(name, s, None if within is None else within[name]) for name, s in saliency.items()}


@torch.no_grad()
def _lamp(name: str, saliency: Tensor, within: Tensor | None) -> Tensor:
    """Layer-adaptive saliencies of one tensor."""
    unpruned = slice(None) if within is None else within.reshape(-1)
    scores = torch.zeros(saliency.numel(), dtype=torch.float64, device=saliency.device)
    values = saliency.reshape(-1)[unpruned].double()
    if not len(values):
        return scores.view(saliency.shape)
    _check("lamp", name, values)
    ordered, order = values.sort(descending=True, stable=True)
    squares = (ordered / ordered[0]).square()  # divided by the largest, so that none overflows
    # on the CPU sums grow term by term: the same on every device, and never out of order by rounding
    shares = squares / squares.cpu().cumsum(0).to(squares.device)
    shares[0] = 1  # also where all saliencies are 0
    values[order] = shares.nan_to_num(0)
    scores[unpruned] = values
    return scores.view(saliency.shape)


def owl_shares(
    saliency: Mapping[str, Tensor], sparsity: float, within: Mapping[str, Tensor] | None = None
) -> dict[str, int]:
    """Shares of the tensors' budgets by outlier-weighed densities; Yin et al. (2024), arXiv:2310.05175.

    All tensors of a block have one density; see `blocks`. A tensor outside of all blocks is a block of its
    own, and so is every tensor of a net without blocks. A block's outlier ratio is the share of its
    unpruned saliencies above M = 5 times their mean, over all its tensors together. Its density is the
    target's plus a term linear in that ratio. The mean over all weights is the target's density.

    No block differs from it by more than lambda = 0.08, as published: the farthest differs by just that.
    The authors' code instead stretches the ratios over a range of 2 lambda and then shifts them, so that
    a block can differ by almost 2 lambda; at a sparsity of 0.95 its densities fall below zero. Here lambda
    is smaller where 0.08 would reach below a fifth of the target's density (0.1 or less) or above 1, so
    that no block is emptied.

    Raises:
        SparsityError: a saliency of an unpruned weight is negative or not finite.
    """
    groups = list(blocks_and_others(saliency).values())
    ratios = [
        _outlier_ratio(
            {name: saliency[name] if within is None else saliency[name][within[name]] for name in names}
        )
        for names in groups
    ]
    sizes = [sum(saliency[name].numel() for name in names) for names in groups]
    mean = math.fsum(ratio * size for ratio, size in zip(ratios, sizes, strict=True)) / sum(sizes)
    density = 1 - sparsity
    farthest = max(
        (abs(ratio - mean) for ratio, size in zip(ratios, sizes, strict=True) if size), default=0.0
    )
    slope = min(MAX_DEVIATION, 0.8 * density, sparsity) / farthest if farthest else 0.0
    densities = {
        name: density + slope * (ratio - mean)
        for names, ratio in zip(groups, ratios, strict=True)
        for name in names
    }
    # `share_out` takes whole numbers: a millionth of a weight is fine enough
    return {name: round(densities[name] * values.numel() * 1e6) for name, values in saliency.items()}


@torch.no_grad()
def _outlier_ratio(saliency: Mapping[str, Tensor]) -> float:
    """Share of some unpruned saliencies that are outliers among all of them together."""
    size = sum(values.numel() for values in saliency.values())
    if not size:
        return 0.0
    for name, values in saliency.items():
        if values.numel():
            _check("owl", name, values)
    mean = math.fsum(float(values.sum(dtype=torch.float64)) for values in saliency.values()) / size
    limit = OUTLIER_MULTIPLE * mean
    return sum(int((values > limit).count_nonzero()) for values in saliency.values()) / size


def _check(distribution: str, name: str, values: Tensor) -> None:
    """Refuse saliencies that have no meaning under a distribution."""
    low, high = values.aminmax()
    if not (float(low) >= 0 and float(high) < float("inf")):
        raise SparsityError(
            f"distribution {distribution!r} needs finite saliencies of 0 or more; those of {name!r} "
            f"lie between {float(low):g} and {float(high):g}; choose another distribution for this criterion"
        )
