"""Tuned GMP: gradual magnitude pruning by the guidelines that answered the benchmark."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Self

from pydantic import Field, model_validator

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.gmp import Cubic
from smc_eval.stages import Distillation, Rewind, Stage, Train
from smc_eval.target import Target


class TunedGmp(Method):
    """Prune gradually in a longer training, taught by the dense net.

    What the paper lays down: embeddings and head stay dense; lengths of training, sparsification and
    learning rate grow with the target; the dense net teaches, with hardness and temperature
    well set. Shares of the schedule, hardness and temperature default to what the authors' recipe of
    arXiv:2203.07259 for 90 % has. How the length grows is our own choice: in proportion to
    how often the survivors are halved.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="gmp-tuned",
        summary="gradual magnitude pruning, longer for sparser nets, taught by the dense net",
        source="Kurtic, Hoefler & Alistarh (2023), arXiv:2312.13547; Zhu & Gupta (2017), equation 1; "
        "Hinton et al. (2015), section 2",
        when="during",
        scopes=("body",),
    )
    pace: float = Field(1.0, gt=0)
    """Lengths of the recipe for each halving of the survivors; never less than one in all."""
    since: float = Field(0.07, ge=0, lt=1)
    """Share of the training at which pruning begins."""
    until: float = Field(0.87, gt=0, le=1)
    """Share of the training at which the target is reached."""
    hardness: float = Field(1.0, gt=0, le=1)
    """The dense net's share of the loss; the task has the rest."""
    temperature: float = Field(2.0, gt=0)
    """Softens what both nets say; above 1 it brings out what the dense net thinks of wrong answers."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.since >= self.until:
            raise ValueError(f"pruning from {self.since:g} to {self.until:g} of the training goes nowhere")
        return self

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train the teacher; from the start again, prune gradually and learn from it."""
        yield Train(name="dense")
        yield Rewind()
        yield Train(
            updater=Cubic(to=target, since=self.since, until=self.until),
            distil=Distillation(teacher="dense", hardness=self.hardness, temperature=self.temperature),
            length=self.length(target),
        )

    def length(self, target: Target) -> float:
        """How many times as long as the recipe: `pace` for each halving, to two decimals."""
        return max(1.0, round(self.pace * -math.log2(target.density), 2))
