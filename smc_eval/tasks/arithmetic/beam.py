"""Beam search over equations that grow as trees, over all problems of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smc_eval.tasks.arithmetic.tree import Reading, TreeDecoder

LONGEST = 45
"""Symbols after which an equation is given up as it stands (PROTOCOL 5.6)."""


@dataclass(frozen=True)
class Branch:
    """An equation in the making, and what its next symbol depends on."""

    problem: int
    score: float
    """Sum of its symbols' log-probabilities; no length makes up for it."""
    symbols: tuple[int, ...]
    goals: tuple[Tensor, ...]
    """Goals still open, the next one last; none are left of a finished equation."""
    trees: tuple[int | Tensor, ...]
    """Operators that wait for an operand, some with the finished tree of their left one."""

    @property
    def finished(self) -> bool:
        return not self.goals

    @property
    def sibling(self) -> Tensor | None:
        """The finished tree left of the next node."""
        last = self.trees[-1] if self.trees else None
        return last if isinstance(last, Tensor) else None


@torch.no_grad()
def search(decoder: TreeDecoder, reading: Reading, width: int, longest: int = LONGEST) -> list[Branch]:
    """The best equation of each problem.

    Each round, every open branch offers its `width` best symbols, and the best `width` branches
    of a problem go on beside those that are finished. As scores only fall, nothing behind a
    finished branch can ever come to stand before it: it is dropped, and a problem whose best
    branch is finished is done.
    """
    roots = reading.root_NH.unbind()
    beams = [[Branch(n, 0.0, (), (root,), ())] for n, root in enumerate(roots)]
    for _ in range(longest):
        open_ = [branch for beam in beams for branch in beam if not branch.finished]
        if not open_:
            break
        beams = _round(decoder, reading, width, beams, sorted(open_, key=lambda branch: branch.sibling is not None))
    return [beam[0] for beam in beams]


@dataclass(frozen=True)
class _Offer:
    """One symbol more for an open branch, before anything is computed of it."""

    score: float
    row: int
    symbol: int


def _round(
    decoder: TreeDecoder, reading: Reading, width: int, beams: Sequence[Sequence[Branch]], open_: Sequence[Branch]
) -> list[list[Branch]]:
    """One symbol more for every branch that goes on; the open ones come sorted, siblings last."""
    problem_M = torch.tensor([branch.problem for branch in open_], device=reading.root_NH.device)
    siblings = [branch.sibling for branch in open_ if branch.sibling is not None]
    goal_MH = torch.stack([branch.goals[-1] for branch in open_])
    node_MH = decoder.node(goal_MH, torch.stack(siblings) if siblings else goal_MH[:0])
    context_MH = decoder.context(node_MH, reading, problem_M)
    sums_MC = decoder.log_probabilities(node_MH, context_MH, reading, problem_M)
    # stable, so that equal scores fall out the same in a batch of any size
    best_MC, symbol_MC = (found[:, :width].tolist() for found in sums_MC.sort(descending=True, stable=True))
    row = {id(branch): m for m, branch in enumerate(open_)}
    ...
