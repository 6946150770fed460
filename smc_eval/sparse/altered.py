"""Altered masks and weights: what a sanity check puts in place of a method's own choice."""

from __future__ import annotations

import torch
from torch import Tensor

from smc_eval.sparse.pattern import groups


def shuffled(mask: Tensor, chance: torch.Generator, group: int | None = None) -> Tensor:
    """The mask with its entries in another order; with a group size, whole groups change places.

    Only groups of one size do, so that an N:M pattern holds.
    """
    if group is None:
        return mask.reshape(-1)[_order(mask.numel(), chance, mask)].view(mask.shape)
    new = mask.clone(memory_format=torch.contiguous_format)
    for part, like in zip(groups(new, group), groups(mask.contiguous(), group), strict=True):
        flat = like.reshape(-1, like.shape[-1])
        part.copy_(flat[_order(len(flat), chance, mask)].view_as(part))
    return new


def redrawn(mask: Tensor, chance: torch.Generator, group: int | None = None) -> Tensor:
    """Another mask with as many survivors, drawn by lot: in all, or in each group."""
    if group is None:
        new = torch.zeros_like(mask, memory_format=torch.contiguous_format)
        new.view(-1)[_order(mask.numel(), chance, mask)[: int(mask.count_nonzero())]] = True
        return new
    new = mask.clone(memory_format=torch.contiguous_format)
    for part, like in zip(groups(new, group), groups(mask.contiguous(), group), strict=True):
        lots = torch.rand(like.shape, generator=chance).to(mask.device)
        part.copy_(like.gather(-1, lots.argsort(dim=-1)))
    return new


def renewed(weight: Tensor, mask: Tensor, chance: torch.Generator) -> Tensor:
    """Survivors drawn anew, from a normal with the mean and deviation that they have now."""
    alive = weight[mask]
    if not alive.numel():
        return weight.clone()
    lots = torch.randn(alive.shape, generator=chance, dtype=torch.float32).to(weight)
    new = weight.clone()
    new[mask] = lots * alive.std(correction=0) + alive.mean()
    return new


def _order(count: int, chance: torch.Generator, like: Tensor) -> Tensor:
    """A random order, drawn on the CPU, so that every device draws the same."""
    return torch.randperm(count, generator=chance).to(like.device)
