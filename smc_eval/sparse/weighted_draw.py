"""Weighted draws without replacement: exactly so many, with probabilities in proportion to weights."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def drawn(
    weights: Tensor, within: Tensor, count: int, generator: torch.Generator, *, power: float = 1.0
) -> Tensor:
    """Mask of `count` positions where `within` is True, drawn one after the other without replacement.

    Each draw takes a remaining position with a probability in proportion to `weights ** power`. Positions
    of weight 0 come last, at random. All is computed from logarithms, so a high power neither vanishes nor
    overflows: the largest `power * log(weight) + g` are taken, where each g has a Gumbel distribution of its
    own. This is the same as drawing one by one. Numbers are drawn on the CPU, so that every device draws the
    same.

    Args:
        weights: finite numbers, 0 or more.
        within: it must have at least `count` True.
    """
    flat_W, within_W = weights.flatten(), within.flatten()
    mask_W = torch.zeros_like(within_W)
    positive_W = within_W & (flat_W > 0)
    for places_W, weighted in ((positive_W, True), (within_W & ~positive_W, False)):
        place_P = places_W.nonzero()[:, 0]
        number = min(count, len(place_P))
        if number:
            key_P = torch.rand(len(place_P), generator=generator, dtype=torch.float64).to(flat_W.device)
            if weighted:
                key_P = key_P.log_().neg_().log_().neg_() + flat_W[place_P].double().log().mul_(power)
            mask_W[place_P[key_P.topk(number, sorted=False).indices]] = True
        count -= number
    return mask_W.view(within.shape)
