"""Link scores: how likely a pruned weight is as a link of its tensor's graph, by Cannistraci-Hebb theory.

A tensor is a bipartite graph: its O rows and its I columns are nodes, and each unpruned weight is a link. A
weight (i, j) that is pruned is scored by the paths i - l - k - j of length three: l is a column that row i is
linked to, k is a row that is linked to column j, and l and k are linked to each other. The l and k of all
these paths are the local community of (i, j). A node of it is worth much if it has many links to the
community, and few to nodes that belong neither to the community nor to the pair.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

AT_ONCE = 2**24
"""Numbers of an intermediate matrix at a time: 64 MiB of floats."""


@torch.no_grad()
def link_scores(mask: Tensor, *, internal: bool, paths: bool) -> Tensor:
    """The score of each pruned weight, zero for the others; of the shape of `mask`, as floats.

    The worth of a node is (1 + d) / (1 + e), or 1 / (1 + e) without `internal`: d of its links lead to the
    community, and e lead neither there nor to the pair itself. By nodes, the score is the sum of the worth
    of the community's nodes: CH2-L3n, and CH3-L3n without `internal`. By `paths`, it is the sum over the
    paths of the geometric mean of the worth of their two nodes: CH2-L3p and CH3-L3p.

    By nodes it takes 4 O I (O + I) operations. By paths it takes as many for each link of a node.
    """
    links_OI = mask.flatten(1).to(torch.float32)
    links_IO = links_OI.T.contiguous()
    if not paths:
        scores_OI = _side_scores(links_OI, internal=internal) + _side_scores(links_IO, internal=internal).T
    elif len(links_OI) < len(links_IO):  # a loop over the longer side keeps the squares of the shorter one
        scores_OI = _path_scores(links_IO, internal=internal).T
    else:
        scores_OI = _path_scores(links_OI, internal=internal)
    return (scores_OI * (1 - links_OI)).view(mask.shape)


def _worth(links_AB: Tensor, *, internal: bool) -> Iterator[tuple[slice, Tensor]]:
    """The worth of each node of one side for each other node of it: parts of rows, and worth_PA of these.

    Node k, seen from node i of the same side, has as many links into the community of i and any pruned
    (i, j) as it has neighbours in common with i. All its other links but the one to j are external. So the
    worth does not depend on j. Without a common neighbour, k is in no community.
    """
    degree_A = links_AB.sum(1)
    size = max(1, AT_ONCE // max(1, len(links_AB)))
    for start in range(0, len(links_AB), size):
        part = slice(start, start + size)
        common_PA = links_AB[part] @ links_AB.T
        inside_PA = (common_PA > 0).to(common_PA.dtype)
        if internal:
            inside_PA *= 1 + common_PA
        # the maximum matters only for unpruned (i, j), which are not scored
        yield part, inside_PA.div_((degree_A - common_PA).clamp_(min=1))


def _side_scores(links_AB: Tensor, *, internal: bool) -> Tensor:
    """The part of the nodes of the first side in the scores by nodes."""
    scores_AB = torch.empty_like(links_AB)
    for part, worth_PA in _worth(links_AB, internal=internal):
        torch.mm(worth_PA, links_AB, out=scores_AB[part])
    return scores_AB


def _path_scores(links_AB: Tensor, *, internal: bool) -> Tensor:
    """Scores by paths: for each node of the first side, all paths that start from it."""
    root_BB = torch.cat(
        [worth_PB.sqrt_() for _, worth_PB in _worth(links_AB.T.contiguous(), internal=internal)]
    )
    scores_AB = torch.zeros_like(links_AB)
    for part, worth_PA in _worth(links_AB, internal=internal):
        for number, worth_A in enumerate(worth_PA.sqrt_(), part.start):
            near_L = links_AB[number].nonzero()[:, 0]
            far_K = worth_A.nonzero()[:, 0]
            far_KB = links_AB[far_K]
            reached_LB = (far_KB[:, near_L] * worth_A[far_K, None]).T @ far_KB
            scores_AB[number] = (reached_LB * root_BB[:, near_L].T).sum(0)
    return scores_AB
