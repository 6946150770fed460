"""A Method: a plan that reads like the paper's algorithm box."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from smc_eval.card import MethodCard
from smc_eval.errors import UsageError
from smc_eval.spec import Spec, label
from smc_eval.stages import Stage
from smc_eval.target import Target

DENSE = "dense"
"""Name of the method that prunes nothing, and stands beside all others."""


class Method(Spec):
    """One sparsification method. Its fields are its options; nothing runs in its plan."""

    card: ClassVar[MethodCard]
    paper: ClassVar[Mapping[str, Any]] = {}
    """Options that SMC-Bench chose otherwise: the defaults under `--protocol paper`."""

    @abstractmethod
    def plan(self, target: Target) -> Iterator[Stage]:
        """The stages that lead from the start to a trained net at the target."""

    def accept(self, target: Target) -> None:
        """Refuse a target this method cannot reach, by name and before anything runs."""
        pattern = "free" if target.pattern == "free" else "n:m"
        if pattern not in self.card.patterns:
            raise UsageError(
                f"method {self.card.name!r} cannot make pattern {target.pattern!r}; "
                f"it makes: {', '.join(self.card.patterns)}"
            )
        if (
            pattern == "free"
            and self.card.distributions is not None
            and target.distribution not in self.card.distributions
        ):
            raise UsageError(
                f"method {self.card.name!r} cannot spread {target.distribution!r}; "
                f"it spreads: {', '.join(self.card.distributions)}"
            )
        if self.card.scopes is not None and target.scope not in self.card.scopes:
            raise UsageError(
                f"method {self.card.name!r} cannot serve scope {target.scope!r}; "
                f"it serves: {', '.join(self.card.scopes)}, as in --scope {self.card.scopes[0]}"
            )

    @property
    def label(self) -> str:
        """Its name and the options that differ from the defaults, as users type them."""
        return label(self.card.name, self)
