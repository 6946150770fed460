"""Dense: the unpruned net, the baseline of every method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.stages import Stage, Train
from smc_eval.target import Target


class Dense(Method):
    """Train without pruning."""

    card: ClassVar[MethodCard] = MethodCard(
        name="dense", summary="the dense baseline", source="none", when="none", patterns=("free",)
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train."""
        yield Train()
