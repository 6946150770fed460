"""SET, sparse evolutionary training: prune small weights and grow others at random."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.random import RandomSaliency
from smc_eval.methods.rigl import Regrow
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target


class SparseEvolution(Method):
    """Start from an Erdős–Rényi net. During training, prune the smallest weights and grow as many at random.

    Each tensor loses the same share of its positive and of its negative weights. Grown weights start at
    zero. The paper rewires after each epoch, and prunes without growing after the last one. Here the masks
    change every `every` steps, until `stop`, as in Evci et al. (2020): so the target is met, and the last
    grown weights are trained.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="set",
        summary="sparse evolutionary training from a random Erdős–Rényi net",
        source="Mocanu et al. (2018), arXiv:1707.04780, algorithm 1",
        when="during",
        patterns=("free",),
        distribution="erk",
        criterion="|w|, among positive and among negative weights; what grows is random",
        equals=(
            "dcmocanu/sparse-evolutionary-artificial-neural-networks 62ac974: of what a change "
            "prunes, at most 1 of 5,600 mask bits differs, by rounding. It changes masks after "
            "each epoch"
        ),
    )
    share: float = Field(0.3, gt=0, le=1)
    """Share of a tensor's weights that each change prunes and grows; zeta in the paper."""
    stop: float = Field(0.75, gt=0, le=1)
    """Share of training after which the masks stay."""
    every: int = Field(100, ge=2)
    """Optimizer steps between two changes. In a short training fewer, so that there are six changes."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune at random, train under the updater."""
        yield Prune(by=RandomSaliency(), to=target)
        yield Train(
            updater=Regrow(
                grow="chance",
                drop="signs",
                share=self.share,
                end=self.share,
                stop=self.stop,
                every=self.every,
            )
        )
