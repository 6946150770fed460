"""Graph2Tree's graphs between numbers and words, and the block of graph convolutions that reads them.

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
"""Directed edges between words, as pairs of their places."""

NEAR_WORDS = 4
"""Words nearer to a number than this may belong to it."""


def order(problem: Problem) -> Edges:
    """From each number to every smaller one; equal ones point at each other."""
    numbers = list(zip(problem.number_at, problem.numbers, strict=True))
    return frozenset((i, j) for (i, v), (j, w) in product(numbers, numbers) if v >= w and i != j)


def cells(problem: Problem) -> Edges:
    """Between each number and the words near it that tell what it counts, both ways."""
    words = [at for at in problem.groups if problem.words[at] != NUM]
    pairs = [(i, j) for i, j in product(problem.number_at, words) if abs(i - j) < NEAR_WORDS]
    return frozenset(pairs) | frozenset((j, i) for i, j in pairs)


def attributes(problem: Problem) -> Edges:
    """`cells`, and edges between words of groups that are the same word."""
    same = product(problem.groups, problem.groups)
    words = problem.words
    return cells(problem) | frozenset((i, j) for i, j in same if i != j and words[i] == words[j])


class Convolution(nn.Module):
    """A (X W) + b over graphs A, which are not normalised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = outputs**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, states_NLH: Tensor, graph_NLL: Tensor) -> Tensor:
        return graph_NLL @ nn.functional.linear(states_NLH, self.weight) + self.bias


class TwoHops(nn.Module):
    """Two convolutions over one graph, the second to a quarter of the width."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = Convolution(hidden, hidden), Convolution(hidden, hidden // 4)
        self.drop = nn.Dropout(dropout)

    def forward(self, states_NLH: Tensor, graph_NLL: Tensor) -> Tensor:
        inner_NLH = self.drop(torch.relu(self.first(states_NLH, graph_NLL)))
        return cast("Tensor", self.second(inner_NLH, graph_NLL))


class Norm(nn.Module):
    """Layer norm as Graph2Tree has it: by the unbiased deviation, to which epsilon is added."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, x_NLH: Tensor) -> Tensor:
        spread_NL1 = x_NLH.std(-1, keepdim=True) + 1e-6
        return self.weight * (x_NLH - x_NLH.mean(-1, keepdim=True)) / spread_NL1 + self.bias


class GraphBlock(nn.Module):
    """Four pairs of convolutions, two over each graph, then a feed-forward layer, each added to its input."""

    def __init__(self, hidden: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.hops = nn.ModuleList(TwoHops(hidden, dropout) for _ in range(4))
        self.norm = Norm(hidden)
        self.widen, self.narrow = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.drop = nn.Dropout(dropout)

    def forward(self, states_NLH: Tensor, graphs_NGLL: Tensor) -> Tensor:
        """States that know their neighbours in the graphs G = 2, `order` and `attributes`."""
        graphs = [graphs_NGLL[:, g].to(states_NLH.dtype) for g in (0, 0, 1, 1)]
        found = [hop(states_NLH, graph) for hop, graph in zip(self.hops, graphs, strict=True)]
        joined_NLH = self.norm(torch.cat(found, -1)) + states_NLH
        return cast("Tensor", joined_NLH + self.narrow(self.drop(torch.relu(self.widen(joined_NLH)))))
