"""Teacher forcing: log-probabilities along target trees, a level at a time instead of a symbol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smc_eval.tasks.arithmetic.outline import Outline, outline
from smc_eval.tasks.arithmetic.tree import TreeDecoder


@dataclass(frozen=True)
class Reading:
    """What the encoder made of a batch.  N problems, S positions, K leaves, H hidden."""

    memory: Tensor
    """[N, S, H] a vector for each position."""
    real: Tensor
    """[N, S] False where padded."""
    problem: Tensor
    """[N, H]"""
    leaves: Tensor
    """[N, K, H] constants, then numbers."""
    there: Tensor
    """[N, K] False where a problem has fewer numbers."""


def log_likelihood(tree: TreeDecoder, reading: Reading, targets: Sequence[Sequence[int]]) -> Tensor:
    """Mean log-probability of the target symbols, over all symbols of the batch; a scalar."""
    shape = outline(targets, tree.operators.num_embeddings)
    places, scores = node_scores(tree, reading, shape)
    wanted = shape.symbol[places].to(scores.device)
    return scores.log_softmax(-1).gather(1, wanted[:, None]).mean()


def node_scores(tree: TreeDecoder, reading: Reading, shape: Outline) -> tuple[Tensor, Tensor]:
    """Places of all nodes, from the roots down, and the scores of all symbols there, [M, operators + K]."""
    keys, finished = tree.keys(reading.memory), _subtrees(tree, reading, shape)
    places, node = shape.roots, tree.alone(reading.problem[shape.problem[shape.roots]])
    levels: list[tuple[Tensor, Tensor, Tensor]] = []
    while True:
        of = shape.problem[places]
        context = tree.context(node, keys[of], reading.memory[of], reading.real[of])
        levels.append((places, node, context))
        has_children = shape.left[places] >= 0
        above = places[has_children]
        if not len(above):
            break
        operator = tree.operators(shape.symbol[above].to(node.device))
        left, right = tree.goals(node[has_children], context[has_children], operator)
        places = torch.cat([shape.left[above], shape.right[above]])
        node = torch.cat([tree.alone(left), tree.beside(finished[shape.left[above]], right)])
    places, node, context = (torch.cat(parts) for parts in zip(*levels, strict=True))
    of = shape.problem[places]
    return places, tree.scores(node, context, reading.leaves[of], reading.there[of])


def _subtrees(tree: TreeDecoder, reading: Reading, shape: Outline) -> Tensor:
    """Embeddings of the sub-trees, [M, H]; zero where no node to the right will ask."""
    operators = tree.operators.num_embeddings
    leaves = (shape.left < 0).nonzero()[:, 0]
    embedded = reading.leaves[shape.problem[leaves], shape.symbol[leaves] - operators]
    finished = embedded.new_zeros(len(shape.symbol), embedded.shape[-1]).index_copy(
        0, leaves.to(embedded.device), embedded
    )
    for places in shape.beside:
        operator = tree.operators(shape.symbol[places].to(embedded.device))
        merged = tree.merge(operator, finished[shape.left[places]], finished[shape.right[places]])
        finished = finished.index_copy(0, places.to(merged.device), merged)
    return finished
