"""From word problems to a batch of tensors.

Shapes: N problems, L tokens of the longest, Q numbers of the one with most, G = 2 graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smc_eval.tasks.arithmetic.graph import attribute_edges, comparison_edges
from smc_eval.tasks.arithmetic.levels import Trees, build_trees
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.symbols import UNK, Symbols
from smc_eval.tasks.arithmetic.text_readers import Reader
from smc_eval.tasks.equation import OPERATORS, number


@dataclass(frozen=True)
class ProblemBatch:
    """Word problems, padded."""

    ids_NL: Tensor
    lengths_N: Tensor
    number_NQ: Tensor
    """Position of each number's first token; 0 where there is no number."""
    real_NQ: Tensor
    graphs_NGLL: Tensor | None
    """Edges between tokens, from `graph.comparison_edges` and `graph.attribute_edges`; None for GTS."""
    trees: Trees

    @property
    def real_NL(self) -> Tensor:
        """Which tokens are not padding."""
        places_L = torch.arange(self.ids_NL.shape[1], device=self.ids_NL.device)
        return places_L < self.lengths_N[:, None]


@dataclass(frozen=True)
class Encoded:
    """A problem as token and symbol indices."""

    ids: tuple[int, ...]
    number_at: tuple[int, ...]
    """Positions of the numbers' first tokens."""
    equation: tuple[int, ...]
    choices: dict[int, tuple[int, ...]]
    """For each position of the equation with an unknown symbol, the symbols that may replace it."""
    graphs_GLL: Tensor | None


class Encoder:
    """Encodes problems for one text encoder; each problem is tokenized once."""

    def __init__(self, reader: Reader, symbols: Symbols, *, graphs: bool) -> None:
        self.reader, self.symbols, self.graphs = reader, symbols, graphs
        self._encoded = dict[Problem, Encoded]()

    def batch(self, problems: Sequence[Problem]) -> ProblemBatch:
        """The problems as tensors."""
        rows = [self._encoding(problem) for problem in problems]
        longest, most = max(len(row.ids) for row in rows), max(len(row.number_at) for row in rows)
        ids = [[*row.ids, *[self.reader.padding] * (longest - len(row.ids))] for row in rows]
        places = [[*row.number_at, *[0] * (most - len(row.number_at))] for row in rows]
        counts = torch.tensor([len(row.number_at) for row in rows])
        graphs_NGLL = torch.zeros(len(rows), 2, longest, longest, dtype=torch.bool) if self.graphs else None
        for n, row in enumerate(rows):
            if graphs_NGLL is not None and row.graphs_GLL is not None:
                graphs_NGLL[n, :, : len(row.ids), : len(row.ids)] = row.graphs_GLL
        return ProblemBatch(
            ids_NL=torch.tensor(ids),
            lengths_N=torch.tensor([len(row.ids) for row in rows]),
            number_NQ=torch.tensor(places, dtype=torch.long),
            real_NQ=torch.arange(most) < counts[:, None],
            graphs_NGLL=graphs_NGLL,
            trees=build_trees(
                [row.equation for row in rows],
                len(self.symbols.operators),
                [row.choices for row in rows],
            ),
        )

    def _encoding(self, problem: Problem) -> Encoded:
        if problem not in self._encoded:
            self._encoded[problem] = self._encode(problem)
        return self._encoded[problem]

    def _encode(self, problem: Problem) -> Encoded:
        ids, first = self.reader.tokenize(problem.words)
        equation = problem.equation
        if any(symbol in OPERATORS and symbol not in self.symbols.operators for symbol in equation):
            equation = ("N0",)  # only a test part can have a new operator, and its targets are not used
        unknown = self.symbols.index(UNK)
        indices = tuple(self.symbols.index(symbol) for symbol in equation)
        return Encoded(
            ids=tuple(ids),
            number_at=tuple(first[at] for at in problem.number_at),
            equation=indices,
            choices={
                place: self._choices(problem, equation[place])
                for place, index in enumerate(indices)
                if index == unknown
            },
            graphs_GLL=_graphs(problem, len(ids), first) if self.graphs else None,
        )

    def _choices(self, problem: Problem, constant: str) -> tuple[int, ...]:
        """Symbols of the problem's numbers that equal the constant; of all its numbers if none does."""
        start, wanted = self.symbols.copy_start, number(constant)
        equal = tuple(start + k for k, value in enumerate(problem.numbers) if value == wanted)
        return equal or tuple(start + k for k in range(len(problem.numbers)))


def _graphs(problem: Problem, length: int, first: Sequence[int]) -> Tensor:
    """Both graphs over tokens: edges join the first tokens of words, and every token has a self-loop."""
    graphs_GLL = torch.eye(length, dtype=torch.bool).repeat(2, 1, 1)
    for g, edges in enumerate((comparison_edges(problem), attribute_edges(problem))):
        for i, j in edges:
            graphs_GLL[g, first[i], first[j]] = True
    return graphs_GLL
