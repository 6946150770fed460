"""Weighted draws without replacement: exactly so many, with probabilities in proportion to weights."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def drawn(
    weights: Tensor, count: int, within: Tensor, generator: torch.Generator, *, power: float = 1.0
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
    uniform = torch.rand(weights.shape, generator=generator, dtype=torch.float64).to(weights.device)
    positive = within & (weights > 0)
    certain = min(count, int(positive.count_nonzero()))
    key = weights.double().log().mul_(power).sub_(uniform.log().neg_().log_())
    mask = torch.zeros(within.shape, dtype=torch.bool, device=within.device)
    for values, places, number in ((key, positive, certain), (uniform, within & ~positive, count - certain)):
        if number:
            place = places.flatten().nonzero()[:, 0]
            mask.view(-1)[place[values.flatten()[place].topk(number).indices]] = True
    return mask
