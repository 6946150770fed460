"""The lottery ticket: iterative magnitude pruning with rewinding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.omp import Magnitude
from smc_eval.stages import START, Prune, Rewind, Stage, Train
from smc_eval.target import Target

SAME_SPARSITY = 1e-6
"""Two sparsities that differ by less than this count as one round."""


class LotteryTicket(Method):
    """Train, prune a share of the remaining weights and rewind, until the target is reached."""

    card: ClassVar[MethodCard] = MethodCard(
        name="lth",
        summary="iterative magnitude pruning, rewinding weights or learning rate after each round",
        source="Frankle & Carbin (2019), arXiv:1803.03635, strategy 2; late rewinding: arXiv:1912.05671; "
        "learning-rate rewinding: Renda et al. (2020), arXiv:2003.02389",
        when="iterative",
        patterns=("free",),
        criterion="|w| at the end of each round",
        equals=(
            "facebookresearch/open_lth 2ce732f, levels of 0.8: 2 to 6 of 4,832 mask bits differ "
            "in ten rounds; it rounds the number of pruned weights up, and prunes one more at the "
            "threshold"
        ),
    )
    share: float = Field(0.2, gt=0, lt=1)
    """Share of the remaining weights that each round prunes."""
    early: float = Field(0.0, ge=0, lt=1)
    """Share of training to rewind to; 0 rewinds to the untrained net."""
    rewind: Literal["weights", "rate"] = "weights"
    """`weights` resets weights, learning rate and order of batches; `rate` keeps the trained weights and
    resets only the learning rate and the order of batches."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Rounds of train, prune and rewind; then a last training."""
        if self.rewind == "rate":
            yield Train()
            for level in round_sparsities(self.share, target.sparsity):
                yield Prune(by=Magnitude(), to=target.at(level))
                yield Train(start=self.early)
            return
        point = "early" if self.early else START
        if self.early:
            yield Train(stop=self.early, name=point)
        for level in round_sparsities(self.share, target.sparsity):
            yield Train(start=self.early)
            yield Prune(by=Magnitude(), to=target.at(level))
            yield Rewind(to=point)
        yield Train(start=self.early)


def round_sparsities(share: float, sparsity: float) -> Iterator[float]:
    """Sparsity after each round that prunes a share of the remaining weights. The last is the target's."""
    number, level = 1, 1 - (1 - share)
    while level < sparsity - SAME_SPARSITY:
        yield level
        number += 1
        level = 1 - (1 - share) ** number
    if sparsity > 0:
        yield sparsity
