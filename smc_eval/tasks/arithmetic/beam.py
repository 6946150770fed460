"""Beam search over equations that grow as trees, over all problems of a batch at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smc_eval.tasks.arithmetic.tree import EncodedProblems, TreeDecoder

LONGEST_EQUATION = 45
"""Symbols after which an equation is given up as it stands (PROTOCOL 5.6)."""


@dataclass(frozen=True)
class Branch:
    """An equation in the making, and what its next symbol depends on."""

    problem: int
    score: float
    """Sum of its symbols' log-probabilities; nothing makes up for length."""
    symbols: tuple[int, ...]
    goals: tuple[Tensor, ...]
    """Goals still open, the next one last; a finished equation has none."""
    trees: tuple[int | Tensor, ...]
    """Operators that wait for operands, each followed by its left operand's tree once that is finished."""

    @property
    def sibling(self) -> Tensor | None:
        """The finished tree left of the next node."""
        last = self.trees[-1] if self.trees else None
        return last if isinstance(last, Tensor) else None


@dataclass(frozen=True)
class Offer:
    """A branch and the symbol it would go on with; none if it is finished."""

    score: float
    branch: Branch
    symbol: int | None
    row: int
    """Of the branch, among those that are open."""
    finished: bool


@torch.no_grad()
def search(
    decoder: TreeDecoder, reading: EncodedProblems, width: int, longest: int = LONGEST_EQUATION
) -> list[Branch]:
    """The best equation of each problem, as the decoder scores it in eval mode.

    In each round every open branch offers its `width` best symbols, and the best `width` of a
    problem's branches go on. Scores only fall, so nothing behind a finished branch can come to
    stand before it: it is dropped, and a problem whose best branch is finished is done. A branch
    that is still open after `longest` symbols is given as it stands.
    """
    beams = [[Branch(n, 0.0, (), (root,), ())] for n, root in enumerate(reading.root_NH.unbind())]
    for _ in range(longest):
        going = [beam for beam in beams if beam[0].goals]
        if not going:
            break
        for beam in _round(decoder, reading, width, going):
            beams[beam[0].problem] = beam
    return [beam[0] for beam in beams]


def _round(
    decoder: TreeDecoder, reading: EncodedProblems, width: int, beams: Sequence[Sequence[Branch]]
) -> list[list[Branch]]:
    """Every beam with one symbol more on its open branches."""
    open_ = [branch for beam in beams for branch in beam if branch.goals]
    open_.sort(key=lambda branch: branch.sibling is not None)
    siblings = [branch.sibling for branch in open_ if branch.sibling is not None]
    goal_MH = torch.stack([branch.goals[-1] for branch in open_])
    problem_M = torch.tensor([branch.problem for branch in open_], device=goal_MH.device)
    node_MH = decoder.node(goal_MH, torch.stack(siblings) if siblings else goal_MH[:0])
    context_MH = decoder.context(node_MH, reading, problem_M)
    sums_MC = decoder.log_probabilities(node_MH, context_MH, reading, problem_M)
    # stable, so that equal sums fall out alike in batches of any size
    best_MC = [found[:, :width].tolist() for found in sums_MC.sort(dim=-1, descending=True, stable=True)]
    rows = {id(branch): row for row, branch in enumerate(open_)}
    operators = decoder.operators.num_embeddings
    kept: list[list[Offer]] = []
    for beam in beams:
        offers = list[Offer]()
        for branch in beam:
            row = rows.get(id(branch), -1)
            offers += _offers(branch, row, operators, zip(*(found[row] for found in best_MC), strict=True))
        kept.append(_best(offers, width))
    return _grown(decoder, reading, kept, node_MH, context_MH)


def _offers(branch: Branch, row: int, operators: int, best: Iterator[tuple[float, int]]) -> Iterator[Offer]:
    if not branch.goals:
        yield Offer(branch.score, branch, None, row, finished=True)
        return
    for more, symbol in best:
        if more != -math.inf:
            finished = symbol >= operators and len(branch.goals) == 1
            yield Offer(branch.score + more, branch, symbol, row, finished)


def _best(offers: Sequence[Offer], width: int) -> list[Offer]:
    """The best offers in order, up to the first that is finished."""
    best = sorted(offers, key=lambda offer: -offer.score)[:width]
    end = next((place for place, offer in enumerate(best, 1) if offer.finished), width)
    return best[:end]


def _grown(
    decoder: TreeDecoder,
    reading: EncodedProblems,
    kept: Sequence[Sequence[Offer]],
    node_MH: Tensor,
    context_MH: Tensor,
) -> list[list[Branch]]:
    """The branches that the offers make; vectors are computed only of those that go on."""
    device, operators = node_MH.device, decoder.operators.num_embeddings
    going = [offer for beam in kept for offer in beam if not offer.finished]
    forks = [offer for offer in going if offer.symbol is not None and offer.symbol < operators]
    leaves = [offer for offer in going if offer.symbol is not None and offer.symbol >= operators]
    made = dict[int, Branch]()
    if forks:
        symbol_K = torch.tensor([offer.symbol for offer in forks], device=device)
        row_K = torch.tensor([offer.row for offer in forks], device=device)
        sides = (goal_KH.unbind() for goal_KH in decoder.goals(symbol_K, node_MH[row_K], context_MH[row_K]))
        for offer, left, right in zip(forks, *sides, strict=True):
            goals, trees = (*offer.branch.goals[:-1], right, left), (*offer.branch.trees, offer.symbol)
            made[id(offer)] = _longer(offer, goals, trees)
    if leaves:
        problem_K = torch.tensor([offer.branch.problem for offer in leaves], device=device)
        leaf_K = torch.tensor([offer.symbol for offer in leaves], device=device) - operators
        stacks = [offer.branch.trees for offer in leaves]
        placed = _placed(decoder, stacks, reading.leaves_NCH[problem_K, leaf_K])
        for offer, trees in zip(leaves, placed, strict=True):
            made[id(offer)] = _longer(offer, offer.branch.goals[:-1], trees)
    return [[made.get(id(offer)) or _longer(offer, (), ()) for offer in beam] for beam in kept]


def _longer(offer: Offer, goals: tuple[Tensor, ...], trees: tuple[int | Tensor, ...]) -> Branch:
    if offer.symbol is None:
        return offer.branch
    symbols = (*offer.branch.symbols, offer.symbol)
    return Branch(offer.branch.problem, offer.score, symbols, goals, trees)


def _placed(
    decoder: TreeDecoder, stacks: Sequence[tuple[int | Tensor, ...]], finished_KH: Tensor
) -> list[tuple[int | Tensor, ...]]:
    """Finished trees put where they belong: one beside a finished left operand merges with it, upwards."""
    open_ = [list(stack) for stack in stacks]
    trees = list(finished_KH.unbind())
    while rows := [k for k, stack in enumerate(open_) if stack and isinstance(stack[-1], Tensor)]:
        left_JH = torch.stack([torch.as_tensor(open_[k].pop()) for k in rows])
        symbol_J = torch.tensor([open_[k].pop() for k in rows], device=left_JH.device)
        merged_JH = decoder.merged(symbol_J, left_JH, torch.stack([trees[k] for k in rows]))
        for k, tree in zip(rows, merged_JH.unbind(), strict=True):
            trees[k] = tree
    return [(*stack, tree) for stack, tree in zip(open_, trees, strict=True)]
