"""A Method: a sparsification method, as a plan of stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from smc_eval.card import MethodCard
from smc_eval.errors import UsageError
from smc_eval.spec import Spec, label
from smc_eval.stages import Stage
from smc_eval.target import STRUCTURED_DISTRIBUTIONS, Target

DENSE = "dense"
"""Name of the method that prunes nothing: the baseline of all others."""


class Method(Spec):
    """A sparsification method: a card, options and a plan.

    Options are fields, each with a default; users set them with `--method NAME:OPTION=VALUE`. The plan
    reads like the algorithm in the paper:

        class Magnitude(Criterion):
            def saliency(self, probe):
                return {name: weight.abs() for name, weight in probe.weights.items()}

        class OneShot(Method):
            card: ClassVar[MethodCard] = MethodCard(
                name="one-shot", summary="magnitude pruning after training", source="...", when="after"
            )

            def plan(self, target):
                yield Train()
                yield Prune(by=Magnitude(), to=target)
                yield Train()
    """

    card: ClassVar[MethodCard]
    """Name, source and supported targets."""
    paper: ClassVar[Mapping[str, Any]] = {}
    """Defaults under `--protocol paper`: the options that SMC-Bench chose differently."""

    @abstractmethod
    def plan(self, target: Target) -> Iterator[Stage]:
        """The stages from the untrained net to a trained net that meets the target.

        A plan only describes: it computes nothing, and equal targets give equal stages. Stages that two
        methods share, such as a first `Train()`, are computed once.
        """

    def accept(self, target: Target) -> None:
        """Refuse a target that the card does not name. A method may override it to refuse more.

        Raises:
            UsageError: the method cannot reach the target; names the method and the supported targets.
        """
        pattern = "n:m" if target.is_n_m else target.pattern
        if pattern not in self.card.patterns:
            raise UsageError(
                f"method {self.card.name!r} does not support pattern {target.pattern!r}; "
                f"it supports: {', '.join(self.card.patterns)}"
            )
        if (
            not target.is_n_m
            and self.card.distributions is not None
            and target.distribution not in self.card.distributions
        ):
            raise UsageError(
                f"method {self.card.name!r} does not support distribution {target.distribution!r}; "
                f"it supports: {', '.join(self.card.distributions)}"
            )
        if target.is_structured and target.distribution not in STRUCTURED_DISTRIBUTIONS:
            raise UsageError(
                f"pattern {target.pattern!r} does not support distribution {target.distribution!r}; "
                f"it supports: {', '.join(STRUCTURED_DISTRIBUTIONS)}"
            )
        if self.card.scopes is not None and target.scope not in self.card.scopes:
            raise UsageError(
                f"method {self.card.name!r} does not support scope {target.scope!r}; "
                f"it supports: {', '.join(self.card.scopes)}, as in --scope {self.card.scopes[0]}"
            )

    @property
    def label(self) -> str:
        """Name and options that differ from the defaults, as users type them: `lth:share=0.1`."""
        return label(self.card.name, self)
