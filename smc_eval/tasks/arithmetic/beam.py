"""Beam search over equations that grow as trees, for all problems of a batch at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from smc_eval.tasks.arithmetic.tree import EncodedProblems, TreeDecoder

LONGEST_EQUATION = 45
"""Symbols after which an unfinished equation is returned as it is."""


class Hypothesis(NamedTuple):
    """A partial equation, with the state from which its next symbol is predicted."""

    problem: int
    score: float
    """Sum of the log-probabilities of its symbols, without length normalisation."""
    symbols: tuple[int, ...]
    goals: tuple[Tensor, ...]
    """Open goals, the next one last; empty for a finished equation."""
    trees: tuple[int | Tensor, ...]
    """Operators that wait for operands, each followed by its left operand's tree if that is finished."""

    @property
    def sibling(self) -> Tensor | None:
        """The finished tree left of the next node."""
        last = self.trees[-1] if self.trees else None
        return last if isinstance(last, Tensor) else None


@dataclass(frozen=True)
class Extension:
    """A hypothesis and a symbol to append; no symbol if the hypothesis is finished."""

    score: float
    hypothesis: Hypothesis
    symbol: int | None
    row: int
    """Position of the hypothesis among the open ones."""
    finished: bool


@torch.no_grad()
def search(
    decoder: TreeDecoder, reading: EncodedProblems, width: int, longest: int = LONGEST_EQUATION
) -> list[Hypothesis]:
    """The best equation of each problem, by the scores of a decoder in eval mode.

    In each round, every open hypothesis is extended by its `width` best symbols, and the best `width`
    hypotheses of each problem are kept. Scores only decrease, so no hypothesis ranked after a finished
    one can overtake it: they are dropped, and the search of a problem ends when its best hypothesis is
    finished. After `longest` symbols the best hypothesis is returned even if it is not finished.
    """
    beams = [[Hypothesis(n, 0.0, (), (root,), ())] for n, root in enumerate(reading.root_NH.unbind())]
    for _ in range(longest):
        open_beams = [beam for beam in beams if beam[0].goals]
        if not open_beams:
            break
        for beam in _round(decoder, reading, width, open_beams):
            beams[beam[0].problem] = beam
    return [beam[0] for beam in beams]


def _round(
    decoder: TreeDecoder, reading: EncodedProblems, width: int, beams: Sequence[Sequence[Hypothesis]]
) -> list[list[Hypothesis]]:
    """All beams after one more symbol on each open hypothesis."""
    open_ = [hypothesis for beam in beams for hypothesis in beam if hypothesis.goals]
    open_.sort(key=lambda hypothesis: hypothesis.sibling is not None)
    siblings = [hypothesis.sibling for hypothesis in open_ if hypothesis.sibling is not None]
    goal_MH = torch.stack([hypothesis.goals[-1] for hypothesis in open_])
    problem_M = torch.tensor([hypothesis.problem for hypothesis in open_], device=goal_MH.device)
    node_MH = decoder.node(goal_MH, torch.stack(siblings) if siblings else goal_MH[:0])
    context_MH = decoder.context(node_MH, reading, problem_M)
    sums_MC = decoder.log_probabilities(node_MH, context_MH, reading, problem_M)
    # a stable sort, so that ties are broken the same way in batches of any size
    best_MC = [part[:, :width].tolist() for part in sums_MC.sort(dim=-1, descending=True, stable=True)]
    rows = {id(hypothesis): row for row, hypothesis in enumerate(open_)}
    operators = decoder.operators.num_embeddings
    chosen: list[list[Extension]] = []
    for beam in beams:
        extensions = list[Extension]()
        for hypothesis in beam:
            row = rows.get(id(hypothesis), -1)
            best = zip(*(part[row] for part in best_MC), strict=True)
            extensions += _extensions(hypothesis, row, operators, best)
        chosen.append(_best(extensions, width))
    return _extended(decoder, reading, chosen, node_MH, context_MH)


def _extensions(
    hypothesis: Hypothesis, row: int, operators: int, best: Iterator[tuple[float, int]]
) -> Iterator[Extension]:
    if not hypothesis.goals:
        yield Extension(hypothesis.score, hypothesis, None, row, finished=True)
        return
    for log_probability, symbol in best:
        if log_probability != -math.inf:
            finished = symbol >= operators and len(hypothesis.goals) == 1
            yield Extension(hypothesis.score + log_probability, hypothesis, symbol, row, finished)


def _best(extensions: Sequence[Extension], width: int) -> list[Extension]:
    """The best extensions in order, up to the first finished one."""
    best = sorted(extensions, key=lambda extension: -extension.score)[:width]
    end = next((place for place, extension in enumerate(best, 1) if extension.finished), width)
    return best[:end]


def _extended(
    decoder: TreeDecoder,
    reading: EncodedProblems,
    chosen: Sequence[Sequence[Extension]],
    node_MH: Tensor,
    context_MH: Tensor,
) -> list[list[Hypothesis]]:
    """The hypotheses after their extensions; vectors are computed only for the unfinished ones."""
    device, operators = node_MH.device, decoder.operators.num_embeddings
    unfinished = [extension for beam in chosen for extension in beam if not extension.finished]
    forks = [e for e in unfinished if e.symbol is not None and e.symbol < operators]
    leaves = [e for e in unfinished if e.symbol is not None and e.symbol >= operators]
    results = dict[int, Hypothesis]()
    if forks:
        symbol_K = torch.tensor([extension.symbol for extension in forks], device=device)
        row_K = torch.tensor([extension.row for extension in forks], device=device)
        sides = (goal_KH.unbind() for goal_KH in decoder.goals(symbol_K, node_MH[row_K], context_MH[row_K]))
        for extension, left, right in zip(forks, *sides, strict=True):
            goals = (*extension.hypothesis.goals[:-1], right, left)
            results[id(extension)] = _append(
                extension, goals, (*extension.hypothesis.trees, extension.symbol)
            )
    if leaves:
        problem_K = torch.tensor([extension.hypothesis.problem for extension in leaves], device=device)
        leaf_K = torch.tensor([extension.symbol for extension in leaves], device=device) - operators
        stacks = [extension.hypothesis.trees for extension in leaves]
        merged = _merged(decoder, stacks, reading.leaves_NCH[problem_K, leaf_K])
        for extension, trees in zip(leaves, merged, strict=True):
            results[id(extension)] = _append(extension, extension.hypothesis.goals[:-1], trees)
    return [
        [results.get(id(extension)) or _append(extension, (), ()) for extension in beam] for beam in chosen
    ]


def _append(extension: Extension, goals: tuple[Tensor, ...], trees: tuple[int | Tensor, ...]) -> Hypothesis:
    if extension.symbol is None:
        return extension.hypothesis
    symbols = (*extension.hypothesis.symbols, extension.symbol)
    return Hypothesis(extension.hypothesis.problem, extension.score, symbols, goals, trees)


def _merged(
    decoder: TreeDecoder, stacks: Sequence[tuple[int | Tensor, ...]], finished_KH: Tensor
) -> list[tuple[int | Tensor, ...]]:
    """Push a finished tree on each stack; a tree after a finished left operand merges with it, repeatedly."""
    open_ = [list(stack) for stack in stacks]
    trees = list(finished_KH.unbind())
    while rows := [k for k, stack in enumerate(open_) if stack and isinstance(stack[-1], Tensor)]:
        left_JH = torch.stack([torch.as_tensor(open_[k].pop()) for k in rows])
        symbol_J = torch.tensor([open_[k].pop() for k in rows], device=left_JH.device)
        merged_JH = decoder.merged(symbol_J, left_JH, torch.stack([trees[k] for k in rows]))
        for k, tree in zip(rows, merged_JH.unbind(), strict=True):
            trees[k] = tree
    return [(*stack, tree) for stack, tree in zip(open_, trees, strict=True)]
