"""SynFlow: iterative pruning before training, without data, that conserves what flows through the net."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import Criterion, Probe
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

SYNFLOW_BATCHES = 8
"""Every batch reaches all of most nets; a tree decoder's deepest layers wait for a nested equation."""


class SynapticFlow(Criterion):
    """|w dR/dw| in the net's linear shadow, where R sums all outputs. Tanaka et al. (2020), algorithm 1.

    Of the data only the form is looked at: how long the sequences are, where a tree branches.
    Biases are left out, so that each layer's weights carry the same flow.
    """

    needs_outputs: ClassVar[bool] = True
    batches: PositiveInt = SYNFLOW_BATCHES
    """At most so many training batches lend their form, until one has asked for every weight."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """A forward and a backward pass."""
        return probe.flow(self.batches)


class SynFlow(Method):
    """Drop, in many rounds, the weights that the least flows through; then train."""

    card: ClassVar[MethodCard] = MethodCard(
        name="synflow",
        summary="synaptic flow |w dR/dw| before training, in rounds, without data",
        source="Tanaka et al. (2020), arXiv:2006.05467, algorithm 1",
        when="before",
    )
    rounds: PositiveInt = 100
    """Prunings of equal ratio, each scored anew; in one round it can empty a layer."""
    batches: PositiveInt = SYNFLOW_BATCHES
    """At most so many training batches lend their form, until one has asked for every weight."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune in rounds, train."""
        yield Prune(by=SynapticFlow(batches=self.batches), to=target, rounds=self.rounds)
        yield Train()
