"""Ablated masks and weights, used by `--ablate` in place of a method's own."""

from __future__ import annotations

import torch
from torch import Tensor

from smc_eval.sparse.pattern import groups


def shuffled(mask: Tensor, generator: torch.Generator, group: int | None = None) -> Tensor:
    """The mask with its entries in random order; with a group size, whole groups change places.

    Groups change places only with groups of the same size, so an N:M pattern holds.
    """
    if group is None:
        return mask.reshape(-1)[_order(mask.numel(), generator, mask)].view(mask.shape)
    new = mask.clone(memory_format=torch.contiguous_format)
    for part, like in zip(groups(new, group), groups(mask.contiguous(), group), strict=True):
        flat = like.reshape(-1, like.shape[-1])
        part.copy_(flat[_order(len(flat), generator, mask)].view_as(part))
    return new


def random_mask(mask: Tensor, generator: torch.Generator, group: int | None = None) -> Tensor:
    """A random mask that keeps as many weights: in all, or in each group."""
    if group is None:
        new = torch.zeros_like(mask, memory_format=torch.contiguous_format)
        new.view(-1)[_order(mask.numel(), generator, mask)[: int(mask.count_nonzero())]] = True
        return new
    new = mask.clone(memory_format=torch.contiguous_format)
    for part, like in zip(groups(new, group), groups(mask.contiguous(), group), strict=True):
        numbers = torch.rand(like.shape, generator=generator).to(mask.device)
        part.copy_(like.gather(-1, numbers.argsort(dim=-1)))
    return new


def redrawn_weights(weight: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """The weight with its unpruned values drawn again, from a normal of their mean and deviation."""
    values = weight[mask]
    if not values.numel():
        return weight.clone()
    drawn = torch.randn(values.shape, generator=generator, dtype=torch.float32).to(weight)
    new = weight.clone()
    new[mask] = drawn * values.std(correction=0) + values.mean()
    return new


def _order(count: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """A random order, drawn on the CPU, so that every device draws the same."""
    return torch.randperm(count, generator=generator).to(like.device)
