"""From problems to tensors: tokens, where the numbers stand, graphs and target symbols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smc_eval.tasks.arithmetic.equation import number
from smc_eval.tasks.arithmetic.graph import adjacency
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.symbols import Symbols, Vocabulary

Tokens = tuple[list[int], list[int]]
"""Token ids of a problem, and the position of each word: of its first token."""

Tokenize = Callable[[Sequence[str]], Tokens]
"""From words to tokens."""


@dataclass(frozen=True)
class Batch:
    """Problems as the solver reads them.  N problems, S positions, Q numbers."""

    tokens: Tensor
    """[N, S] padded."""
    real: Tensor
    """[N, S] False where padded."""
    number_at: Tensor
    """[N, Q] position of each number, 0 where there is none."""
    number_there: Tensor
    """[N, Q] False where a problem has fewer numbers."""
    graphs: Tensor | None
    """[N, 2, S, S] for solvers that read graphs."""
    targets: tuple[tuple[int, ...], ...]
    """Prefix equations as symbols; an unknown constant is the last symbol."""
    stands_for: tuple[tuple[tuple[int, ...], ...], ...]
    """For each unknown constant of each problem, in order, the symbols it may be taught as."""


def batched(
    problems: Sequence[Problem], tokenize: Tokenize, symbols: Symbols, padding: int, *, graphs: bool
) -> Batch:
    """Problems as one padded batch."""
    tokens = [tokenize(problem.words) for problem in problems]
    longest = max(len(ids) for ids, _ in tokens)
    most = max(len(problem.numbers) for problem in problems)
    ids_NS = torch.full((len(problems), longest), padding)
    real_NS = torch.zeros(len(problems), longest, dtype=torch.bool)
    at_NQ = torch.zeros(len(problems), most, dtype=torch.long)
    there_NQ = torch.zeros(len(problems), most, dtype=torch.bool)
    graphs_N2SS = torch.zeros(len(problems), 2, longest, longest) if graphs else None
    for row, (problem, (ids, place)) in enumerate(zip(problems, tokens, strict=True)):
        ids_NS[row, : len(ids)] = torch.tensor(ids)
        real_NS[row, : len(ids)] = True
        numbers = [place[at] for at in problem.number_at]
        at_NQ[row, : len(numbers)] = torch.tensor(numbers)
        there_NQ[row, : len(numbers)] = True
        if graphs_N2SS is not None:
            graphs_N2SS[row, :, : len(ids), : len(ids)] = adjacency(problem, place, len(ids))
    targets = tuple(tuple(symbols.index(symbol) for symbol in problem.equation) for problem in problems)
    stands_for = tuple(unknown(problem, symbols) for problem in problems)
    return Batch(ids_NS, real_NS, at_NQ, there_NQ, graphs_N2SS, targets, stands_for)


def unknown(problem: Problem, symbols: Symbols) -> tuple[tuple[int, ...], ...]:
    """What each constant without a symbol may be taught as: a number of its value, or else any."""
    found = []
    first = symbols.copy_start
    for symbol in problem.equation:
        if symbols.index(symbol) == len(symbols) - 1:
            value = number(symbol)
            same = tuple(first + k for k, other in enumerate(problem.numbers) if other == value)
            found.append(same or tuple(first + k for k in range(len(problem.numbers))))
    return tuple(found)


def by_word(vocabulary: Vocabulary) -> Tokenize:
    """One token a word."""
    return lambda words: ([vocabulary.index(word) for word in words], list(range(len(words))))
