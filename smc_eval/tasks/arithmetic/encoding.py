"""From word problems to a batch of tensors.

Shapes: N problems, L tokens of the longest, Q numbers of the one with most, G = 2 graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smc_eval.tasks.arithmetic.graph import attributes, order
from smc_eval.tasks.arithmetic.levels import Trees, trees
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
    """Place of each number's first token; 0 where there is no number."""
    real_NQ: Tensor
    graphs_NGLL: Tensor | None
    """Edges between tokens, by `graph.order` and `graph.attributes`; None where nobody reads them."""
    trees: Trees

    @property
    def real_NL(self) -> Tensor:
        """Which tokens are no padding."""
        places_L = torch.arange(self.ids_NL.shape[1], device=self.ids_NL.device)
        return places_L < self.lengths_N[:, None]


@dataclass(frozen=True)
class Encoded:
    """A problem in numbers."""

    ids: tuple[int, ...]
    number_at: tuple[int, ...]
    """Places of the numbers' first tokens."""
    equation: tuple[int, ...]
    choices: dict[int, tuple[int, ...]]
    """For each place of the equation that holds no known symbol, those that may stand there."""
    graphs_GLL: Tensor | None


class Encoder:
    """Encodes problems for one text encoder; each is cut into tokens once."""

    def __init__(self, reader: Reader, symbols: Symbols, *, graphs: bool) -> None:
        self.reader, self.symbols, self.graphs = reader, symbols, graphs
        self._encoded = dict[Problem, Encoded]()

    def batch(self, problems: Sequence[Problem]) -> ProblemBatch:
        """The problems as tensors."""
        found = [self._found(problem) for problem in problems]
        longest, most = max(len(one.ids) for one in found), max(len(one.number_at) for one in found)
        ids = [[*one.ids, *[self.reader.padding] * (longest - len(one.ids))] for one in found]
        places = [[*one.number_at, *[0] * (most - len(one.number_at))] for one in found]
        counts = torch.tensor([len(one.number_at) for one in found])
        graphs_NGLL = torch.zeros(len(found), 2, longest, longest, dtype=torch.bool) if self.graphs else None
        for n, one in enumerate(found):
            if graphs_NGLL is not None and one.graphs_GLL is not None:
                graphs_NGLL[n, :, : len(one.ids), : len(one.ids)] = one.graphs_GLL
        return ProblemBatch(
            ids_NL=torch.tensor(ids),
            lengths_N=torch.tensor([len(one.ids) for one in found]),
            number_NQ=torch.tensor(places, dtype=torch.long),
            real_NQ=torch.arange(most) < counts[:, None],
            graphs_NGLL=graphs_NGLL,
            trees=trees(
                [one.equation for one in found],
                len(self.symbols.operators),
                [one.choices for one in found],
            ),
        )

    def _found(self, problem: Problem) -> Encoded:
        if problem not in self._encoded:
            self._encoded[problem] = self._encode(problem)
        return self._encoded[problem]

    def _encode(self, problem: Problem) -> Encoded:
        ids, first = self.reader.cut(problem.words)
        equation = problem.equation
        if any(symbol in OPERATORS and symbol not in self.symbols.operators for symbol in equation):
            equation = ("N0",)  # only in a test part, which nobody trains on, can an operator be new
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
        """Numbers of the problem with the constant's value; all of them if none has it."""
        start, wanted = self.symbols.copy_start, number(constant)
        equal = tuple(start + k for k, value in enumerate(problem.numbers) if value == wanted)
        return equal or tuple(start + k for k in range(len(problem.numbers)))


def _graphs(problem: Problem, length: int, first: Sequence[int]) -> Tensor:
    """Both graphs over tokens: edges join words' first tokens, and every token is its own neighbour."""
    graphs_GLL = torch.eye(length, dtype=torch.bool).repeat(2, 1, 1)
    for g, edges in enumerate((order(problem), attributes(problem))):
        for i, j in edges:
            graphs_GLL[g, first[i], first[j]] = True
    return graphs_GLL
