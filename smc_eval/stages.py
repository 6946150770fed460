"""Stages: the three steps that a plan is made of, Train, Prune and Rewind."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from smc_eval.pruner import Pruner
from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.target import Target
from smc_eval.updater import Updater

START = "start"
"""Name of the untrained net. Every plan can rewind to it."""


class Distillation(Spec):
    """Knowledge distillation from an earlier net of the plan. Hinton et al. (2015), section 2.

    For class outputs the loss is (1 - h) task + h T^2 KL(teacher at T || student at T), where T softens
    both. For values it is (1 - h) task + h times the mean squared difference.
    """

    teacher: str
    """Name of an earlier Train. Its net is the teacher."""
    hardness: float = Field(1.0, gt=0, le=1)
    """h: the teacher's share of the loss."""
    temperature: float = Field(2.0, gt=0)
    """T: above 1, the teacher's probabilities of wrong classes weigh more."""


class Train(Spec):
    """Train the net by the recipe: `Train()`.

    Masks stay as they are, unless an `updater` changes them. Pruned weights stay zero.
    """

    updater: Updater | None = None
    """Changes the masks during training; None keeps them."""
    distil: Distillation | None = None
    """Adds the loss to a teacher; None trains on the task alone."""
    recipe: Recipe | None = None
    """None takes the recipe of the task."""
    start: float = Field(0.0, ge=0, lt=1)
    """Share of the recipe at which it begins."""
    stop: float = Field(1.0, gt=0, le=1)
    """Share of the recipe at which it ends."""
    length: float = Field(1.0, gt=0, le=1e6)
    """Length as a multiple of the recipe's; the schedule is stretched with it."""
    name: str | None = None
    """Name of the net at its end, for a later Rewind or Distillation."""

    def steps(self, examples: int) -> range:
        """The optimizer steps of its recipe that it runs, with this many training examples.

        Empty if it has no recipe yet.
        """
        return self.steps_of(self.recipe.total(examples) if self.recipe else 0)

    def steps_of(self, total: int) -> range:
        """The steps that it runs of a recipe with `total` steps."""
        return range(round(self.start * total), round(self.stop * total))

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.start >= self.stop:
            raise ValueError(
                f"a Train starts at {self.start:g} and stops at {self.stop:g}; start must be below stop"
            )
        return self


class Prune(Spec):
    """Prune the net as it is, without training: `Prune(by=Magnitude(), to=target)`."""

    by: Pruner
    """Makes the masks."""
    to: Target | None
    """The target of the masks. With None the pruner decides, for instance by masks from a file."""
    rounds: int = Field(1, ge=1, le=10_000)
    """Number of rounds. Each prunes the same share of the remaining weights, with new saliencies."""

    @model_validator(mode="after")
    def _rounds_lead_somewhere(self) -> Self:
        if self.to is None and self.rounds > 1:
            raise ValueError(f"{self.rounds} rounds need a target; found None")
        return self


class Rewind(Spec):
    """Reset the weights to those of an earlier net; the masks stay: `Rewind()`."""

    to: str = START
    """`start` for the untrained net, or the name of an earlier Train."""


Stage = Train | Prune | Rewind
