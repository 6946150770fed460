"""SNIP: one-shot pruning before training by connection sensitivity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import Criterion, Probe
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor


class Sensitivity(Criterion):
    """|g * w|: how far the loss moves when a weight is taken away. Lee et al. (2019), equation 5."""

    needs_data: ClassVar[bool] = True

    batches: PositiveInt = 64
    """Training batches whose mean gradient is taken."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        """Gradient times weight, by magnitude."""
        gradients = probe.gradients(self.batches)
        return {name: (gradients[name] * weight).abs() for name, weight in probe.weights.items()}


class Snip(Method):
    """Drop the weights whose removal moves the loss least, then train what is left."""

    card: ClassVar[MethodCard] = MethodCard(
        name="snip",
        summary="connection sensitivity on training batches, one shot before training",
        source="Lee, Ajanthan & Torr (2019), arXiv:1810.02340, equation 5",
        moment="before",
    )
    paper: ClassVar[Mapping[str, Any]] = {"batches": 1}

    batches: PositiveInt = 64
    """Training batches whose mean gradient is taken."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune, train."""
        yield Prune(by=Sensitivity(batches=self.batches), to=target)
        yield Train()
