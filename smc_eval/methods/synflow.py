"""SynFlow: iterative pruning before training by synaptic flow, without data."""

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
"""One batch uses all weights of most nets. The deepest layers of a tree decoder need a nested equation."""


class SynapticFlow(Criterion):
    """|w dR/dw| in the linearized net, where R is the sum of all outputs. Tanaka et al. (2020), algorithm 1.

    Only the form of the data matters: the lengths of the sequences, the shape of a tree. Biases are left
    out, so that the weights of each layer have the same total flow.
    """

    needs_outputs: ClassVar[bool] = True
    batches: PositiveInt = SYNFLOW_BATCHES
    """Largest number of training batches. Fewer are drawn if they use every weight."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """One forward and backward pass for each batch."""
        return probe.flow(self.batches)


class SynFlow(Method):
    """Prune the weights with the least synaptic flow, in many rounds; then train."""

    card: ClassVar[MethodCard] = MethodCard(
        name="synflow",
        summary="synaptic flow |w dR/dw| before training, in rounds, without data",
        source="Tanaka et al. (2020), arXiv:2006.05467, algorithm 1",
        when="before",
    )
    rounds: PositiveInt = 100
    """Rounds of pruning, each with new saliencies. A single round can empty a layer."""
    batches: PositiveInt = SYNFLOW_BATCHES
    """Largest number of training batches. Fewer are drawn if they use every weight."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune in rounds, train."""
        yield Prune(by=SynapticFlow(batches=self.batches), to=target, rounds=self.rounds)
        yield Train()
