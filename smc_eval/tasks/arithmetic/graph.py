"""Graph2Tree's graphs over a problem, and the block of graph convolutions that reads them.

Zhang et al. (2020), "Graph-to-Tree Learning for Solving Math Word Problems", sections 3.2 and 3.3.
Shapes: N problems, S positions, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smc_eval.tasks.arithmetic.problems import Problem

NEAR = 4
"""A group word this near to a number, in words, may tell what it counts."""


def adjacency(problem: Problem, place: Sequence[int], positions: int) -> Tensor:
    """The two graphs the published model consumes, [2, S, S] of 0 and 1: greater, attribute-between.

    `place` is the position of each word, of its first sub-word where words are cut up. Both have
    every one of the `positions` joined with itself.
    """
    greater, between = torch.eye(positions), torch.eye(positions)
    numbers = [place[at] for at in problem.number_at]
    for i, first in enumerate(problem.numbers):
        for j in range(i + 1, len(numbers)):
            larger, smaller = (i, j) if first > problem.numbers[j] else (j, i)
            greater[numbers[larger], numbers[smaller]] = 1
    for word in problem.groups:
        if problem.words[word] == "NUM":
            continue
        for at in problem.number_at:
            if abs(at - word) < NEAR:
                between[place[at], place[word]] = between[place[word], place[at]] = 1
        for other in problem.groups:
            if problem.words[other] == problem.words[word]:
                between[place[word], place[other]] = between[place[other], place[word]] = 1
    return torch.stack([greater, between])


class Convolution(nn.Module):
    """A (X W) + b, with the graph as it is: no degree divides it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-(outputs**-0.5), outputs**-0.5))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-(outputs**-0.5), outputs**-0.5))

    def forward(self, x_NSI: Tensor, graph_NSS: Tensor) -> Tensor:
        """[N, S, O]"""
        return torch.baddbmm(self.bias, graph_NSS, x_NSI @ self.weight)


class Branch(nn.Module):
    """Two convolutions over one graph."""

    def __init__(self, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = Convolution(hidden, hidden), Convolution(hidden, outputs)
        self.drop = nn.Dropout(dropout)

    def forward(self, x_NSH: Tensor, graph_NSS: Tensor) -> Tensor:
        """[N, S, outputs]"""
        inner_NSH = self.drop(F.relu(self.first(x_NSH, graph_NSS)))
        made: Tensor = self.second(inner_NSH, graph_NSS)
        return made


class Norm(nn.Module):
    """Layer norm as the published code has it: unbiased deviation, epsilon added to it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """The shape of `x`."""
        centred = x - x.mean(-1, keepdim=True)
        return self.scale * centred / (x.std(-1, keepdim=True) + 1e-6) + self.shift


class GraphBlock(nn.Module):
    """Four branches over the graphs (greater, greater, between, between), then a feed-forward layer."""

    GRAPHS = (0, 0, 1, 1)

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            Branch(hidden, hidden // len(self.GRAPHS), dropout) for _ in self.GRAPHS
        )
        self.norm = Norm(hidden)
        self.inner, self.outer = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.drop = nn.Dropout(dropout)

    def forward(self, x_NSH: Tensor, graphs_N2SS: Tensor) -> Tensor:
        """[N, S, H], which knows of its neighbours."""
        parts = [
            branch(x_NSH, graphs_N2SS[:, which])
            for branch, which in zip(self.branches, self.GRAPHS, strict=True)
        ]
        y_NSH = self.norm(torch.cat(parts, -1)) + x_NSH
        inner_NSH = self.drop(F.relu(self.inner(y_NSH)))
        made: Tensor = self.outer(inner_NSH) + y_NSH
        return made
