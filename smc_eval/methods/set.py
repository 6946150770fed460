"""SET, sparse evolutionary training: drop small weights, grow others by lot."""

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
    """Draw an Erdős–Rényi net; while it trains, drop what is nearest to zero and grow as many by lot.

    Each tensor drops the same share of its positive and of its negative weights. The paper rewires after
    each epoch, and after the last one drops without growing; here masks change every so many steps, and
    no more after `stop`, as Evci et al. (2020) have it: so the target is met, and what grew last has time
    to learn. What grows starts at zero.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="set",
        summary="sparse evolutionary training from a random Erdős–Rényi net",
        source="Mocanu et al. (2018), arXiv:1707.04780, algorithm 1",
        when="during",
        patterns=("free",),
        distribution="erk",
    )
    share: float = Field(0.3, gt=0, le=1)
    """Share of a tensor's weights that each change drops and grows; zeta in the paper."""
    stop: float = Field(0.75, gt=0, le=1)
    """Share of training after which masks stay as they are."""
    every: int = Field(100, ge=2)
    """Optimizer steps from one change to the next; fewer in a training that would have less than six."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune by lot, train under the rule."""
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
