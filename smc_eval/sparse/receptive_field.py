"""Receptive fields: random links of a bipartite graph that prefer near nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from smc_eval.sparse.pattern import largest_of_each


@torch.no_grad()
def receptive_field(
    shape: tuple[int, ...], count: int, randomness: float, generator: torch.Generator, *, equal: bool
) -> Tensor:
    """Mask of `count` weights of a tensor of this shape, on the CPU: a bipartite receptive field.

    Rows and columns are nodes. Each of the A nodes of the shorter side draws its links to the B nodes of
    the longer one without replacement, with probabilities in proportion to (1 + d) ** (-(1 - r) / r). Here r
    is the randomness, and d is the distance, around a ring of B nodes, from the place of the node: the
    places of the A nodes are B // A apart. With r = 0 the nearest are linked, with r = 1 all are equally
    likely.

    Args:
        equal: whether all nodes of the shorter side have equally many links; a remainder is theirs at random.
            Otherwise each has one link, and the others are distributed at random.
    """
    rows, columns = shape[0], torch.Size(shape[1:]).numel()
    nodes, others = min(rows, columns), max(rows, columns)
    if not count:
        return torch.zeros(shape, dtype=torch.bool)
    degree_A = (
        _equal_degrees(nodes, count, generator) if equal else _random_degrees(nodes, others, count, generator)
    )
    place_A1 = torch.arange(nodes)[:, None] * (others // nodes) % others
    distance_AB = (torch.arange(others) - place_A1).abs()
    distance_AB = torch.minimum(distance_AB, others - distance_AB).double()
    if randomness:
        key_AB = distance_AB.log1p().mul_(-(1 - randomness) / randomness)
        uniform_AB = torch.rand(key_AB.shape, generator=generator, dtype=torch.float64)
        key_AB -= uniform_AB.log_().neg_().log_()  # the largest sums with Gumbel numbers are weighted draws
    else:
        key_AB = -distance_AB
    links_AB = largest_of_each(key_AB, degree_A[:, None], None)
    return (links_AB if nodes == rows else links_AB.T.contiguous()).reshape(shape)


def _equal_degrees(nodes: int, count: int, generator: torch.Generator) -> Tensor:
    """Equal numbers of links; those that remain go to random nodes, one each."""
    each, rest = divmod(count, nodes)
    degree_A = torch.full((nodes,), each)
    degree_A[torch.randperm(nodes, generator=generator)[:rest]] += 1
    return degree_A


def _random_degrees(nodes: int, ceiling: int, count: int, generator: torch.Generator) -> Tensor:
    """A link for each node, and each further one for a random node that has room.

    With fewer links than nodes, random nodes have one.
    """
    if count < nodes:
        return _equal_degrees(nodes, count, generator)
    degree_A = torch.ones(nodes, dtype=torch.int64)
    while rest := count - int(degree_A.sum()):
        room = (degree_A < ceiling).nonzero()[:, 0]
        chosen = room[torch.randint(len(room), (rest,), generator=generator)]
        degree_A = (degree_A + torch.bincount(chosen, minlength=nodes)).clamp_(max=ceiling)
    return degree_A
