"""The three verbs of a plan: Train, Prune, Rewind."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from smc_eval.pruner import Pruner
from smc_eval.recipe import Recipe
from smc_eval.rule import Rule
from smc_eval.spec import Spec
from smc_eval.target import Target

START = "start"
"""Name of the point before any training, which every plan may rewind to."""


class Train(Spec):
    """Train under the masks worn, or under a rule that changes them."""

    rule: Rule | None = None
    """What changes masks on the way; None leaves them as they are."""
    recipe: Recipe | None = None
    """None takes the task's."""
    start: float = Field(0.0, ge=0, lt=1)
    """Share of the recipe at which to begin."""
    stop: float = Field(1.0, gt=0, le=1)
    """Share of the recipe at which to end."""
    name: str | None = None
    """Names the point it ends at, for a later Rewind."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.start >= self.stop:
            raise ValueError(f"a Train from {self.start:g} to {self.stop:g} goes nowhere")
        return self


class Prune(Spec):
    """Decide masks from the net as it stands."""

    by: Pruner
    to: Target
    rounds: int = Field(1, ge=1)
    """Reach the target in so many rounds of equal ratio, scoring anew before each."""


class Rewind(Spec):
    """Take back the weights of an earlier point; the masks stay as they are."""

    to: str = START
    """`start`, or the name of an earlier Train."""


Stage = Train | Prune | Rewind
