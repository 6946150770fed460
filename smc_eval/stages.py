"""The three verbs of a plan: Train, Prune, Rewind."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from smc_eval.pruner import Pruner
from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.target import Target
from smc_eval.updater import Updater

START = "start"
"""Name of the point before any training, which every plan may rewind to."""


class Distillation(Spec):
    """Learn from what an earlier net says, beside the task's own answers. Hinton et al. (2015), section 2.

    The loss is (1 - h) task + h T^2 KL(teacher at T || student at T), where T softens both;
    of a task whose outputs are values, (1 - h) task + h times the mean squared difference.
    """

    teacher: str
    """Name of an earlier Train, whose net is the teacher."""
    hardness: float = Field(1.0, gt=0, le=1)
    """h: the teacher's share of the loss."""
    temperature: float = Field(2.0, gt=0)
    """T: above 1 it brings out what the teacher thinks of the wrong answers."""


class Train(Spec):
    """Train under the masks worn, or under a rule that changes them."""

    updater: Updater | None = None
    """What changes masks on the way; None leaves them as they are."""
    distil: Distillation | None = None
    """Whom to learn from beside the task; None from nobody."""
    recipe: Recipe | None = None
    """None takes the task's."""
    start: float = Field(0.0, ge=0, lt=1)
    """Share of the recipe at which to begin."""
    stop: float = Field(1.0, gt=0, le=1)
    """Share of the recipe at which to end."""
    length: float = Field(1.0, gt=0)
    """How many times as long as the recipe says; its schedule is stretched along."""
    name: str | None = None
    """Names the point it ends at, for a later Rewind."""

    def steps(self, examples: int) -> range:
        """The optimizer steps of its recipe that it takes, over so many training examples.

        None where it has no recipe yet.
        """
        return self.steps_of(self.recipe.total(examples) if self.recipe else 0)

    def steps_of(self, total: int) -> range:
        """The steps that it takes of a recipe with so many."""
        return range(round(self.start * total), round(self.stop * total))

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.start >= self.stop:
            raise ValueError(f"a Train from {self.start:g} to {self.stop:g} goes nowhere")
        return self


class Prune(Spec):
    """Decide masks from the net as it stands."""

    by: Pruner
    to: Target | None
    """None takes whatever masks the pruner brings, as one that reads them from a file does."""
    rounds: int = Field(1, ge=1)
    """Reach the target in so many rounds of equal ratio, scoring anew before each."""

    @model_validator(mode="after")
    def _rounds_lead_somewhere(self) -> Self:
        if self.to is None and self.rounds > 1:
            raise ValueError("rounds need a target to lead to")
        return self


class Rewind(Spec):
    """Take back the weights of an earlier point; the masks stay as they are."""

    to: str = START
    """`start`, or the name of an earlier Train."""


Stage = Train | Prune | Rewind
