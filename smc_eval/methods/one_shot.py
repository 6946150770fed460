"""The two plans of one-shot pruning: before and after training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from smc_eval.method import Method
from smc_eval.pruner import Pruner
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target


class OneShot(Method):
    """Prune all weights at once."""

    @abstractmethod
    def pruner(self) -> Pruner:
        """The pruner of the only pruning."""


class OneShotBefore(OneShot):
    """Prune the untrained net, then train."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune, train."""
        yield Prune(by=self.pruner(), to=target)
        yield Train()


class OneShotAfter(OneShot):
    """Train, prune, then train on with the whole recipe."""

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train, prune, train."""
        yield Train()
        yield Prune(by=self.pruner(), to=target)
        yield Train()
