"""Graph2Tree's graphs over numbers and words, and its block of graph convolutions.

Zhang et al., ACL 2020. Shapes: N problems, L tokens, H hidden, O outputs.
"""

from __future__ import annotations

from itertools import product
from typing import cast

import torch
from torch import Tensor, nn

from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.symbols import NUM

Edges = frozenset[tuple[int, int]]
"""Directed edges between words, as pairs of word positions."""

NEAR_WORDS = 4
"""A word belongs to a number only if its distance in words is smaller than this."""


def comparison_edges(problem: Problem) -> Edges:
    """Edges from each number to every smaller one; between equal numbers both ways."""
    numbers = list(zip(problem.number_at, problem.numbers, strict=True))
    return frozenset((i, j) for (i, v), (j, w) in product(numbers, numbers) if v >= w and i != j)


def cell_edges(problem: Problem) -> Edges:
    """Edges between each number and the group words near it, both ways."""
    words = [at for at in problem.groups if problem.words[at] != NUM]
    pairs = [(i, j) for i, j in product(problem.number_at, words) if abs(i - j) < NEAR_WORDS]
    return frozenset(pairs) | frozenset((j, i) for i, j in pairs)


def attribute_edges(problem: Problem) -> Edges:
    """`cell_edges`, and edges between group words that are the same word."""
    same = product(problem.groups, problem.groups)
    words = problem.words
    return cell_edges(problem) | frozenset((i, j) for i, j in same if i != j and words[i] == words[j])


class Convolution(nn.Module):
    """Graph convolution A (X W) + b with the adjacency matrix A, which is not normalised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = outputs**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, states_NLH: Tensor, graph_NLL: Tensor) -> Tensor:
        return graph_NLL @ nn.functional.linear(states_NLH, self.weight) + self.bias


class TwoHops(nn.Module):
    """Two convolutions over one graph; the second has a quarter of the width."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = Convolution(hidden, hidden), Convolution(hidden, hidden // 4)
        self.drop = nn.Dropout(dropout)

    def forward(self, states_NLH: Tensor, graph_NLL: Tensor) -> Tensor:
        inner_NLH = self.drop(torch.relu(self.first(states_NLH, graph_NLL)))
        return cast("Tensor", self.second(inner_NLH, graph_NLL))


class Norm(nn.Module):
    """Graph2Tree's layer norm: divides by the unbiased standard deviation plus epsilon."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, x_NLH: Tensor) -> Tensor:
        deviation_NL1 = x_NLH.std(-1, keepdim=True) + 1e-6
        return self.weight * (x_NLH - x_NLH.mean(-1, keepdim=True)) / deviation_NL1 + self.bias


class GraphBlock(nn.Module):
    """Four pairs of convolutions, two over each graph, then a feed-forward layer; both with a residual."""

    def __init__(self, hidden: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.hops = nn.ModuleList(TwoHops(hidden, dropout) for _ in range(4))
        self.norm = Norm(hidden)
        self.widen, self.narrow = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.drop = nn.Dropout(dropout)

    def forward(self, states_NLH: Tensor, graphs_NGLL: Tensor) -> Tensor:
        """States after message passing over the G = 2 graphs, `comparison_edges` and `attribute_edges`."""
        graphs = [graphs_NGLL[:, g].to(states_NLH.dtype) for g in (0, 0, 1, 1)]
        messages = [hop(states_NLH, graph) for hop, graph in zip(self.hops, graphs, strict=True)]
        joined_NLH = self.norm(torch.cat(messages, -1)) + states_NLH
        return cast("Tensor", joined_NLH + self.narrow(self.drop(torch.relu(self.widen(joined_NLH)))))
