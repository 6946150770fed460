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
    out, as in the paper's R, so that the weights of each layer have the same total flow. In the authors'
    code their absolute values flow too; then layers behind large biases have more.

    Nothing is published for transformers. Here softmax and norms are linear: they divide by numbers without
    a slope. So queries and keys have as much flow as values. A literal port, with absolute weights and inputs
    of 1 in the net as it is, prunes all queries and keys: a norm takes away the mean, so that tokens are
    nearly alike, and the softmax over them nearly does not depend on queries and keys.
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
        criterion="|w dR/dw|, R the sum of the outputs of the linearized net",
        equals=(
            "ganguli-lab/Synaptic-Flow 9dfa57a, 100 rounds, nets without biases: no mask bit "
            "differs if as many weights are pruned in each round; by its rounding up to 61 of "
            "4,832 do. Biases carry flow there, and then 59 to 132 differ. No code is published "
            "for transformers"
        ),
    )
    rounds: PositiveInt = 100
    """Rounds of pruning, each with new saliencies. A single round can empty a layer."""
    batches: PositiveInt = SYNFLOW_BATCHES
    """Largest number of training batches. Fewer are drawn if they use every weight."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune in rounds, train."""
        yield Prune(by=SynapticFlow(batches=self.batches), to=target, rounds=self.rounds)
        yield Train()
