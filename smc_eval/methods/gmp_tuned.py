"""Tuned GMP: gradual magnitude pruning by the guidelines of the answer to SMC-Bench."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from smc_eval.card import MethodCard
from smc_eval.errors import UsageError
from smc_eval.method import Method
from smc_eval.methods.gmp import Cubic
from smc_eval.stages import Distillation, Rewind, Stage, Train
from smc_eval.target import Target


class TunedGmp(Method):
    """Prune gradually in a longer training, with the dense net as teacher.

    The paper requires: embeddings and head stay dense; training, sparsification and learning-rate
    schedule are longer for sparser targets; the dense net is the teacher, with a tuned weight of
    its loss and a tuned temperature. Schedule, weight and temperature have the defaults of the authors'
    recipe for 90 % (arXiv:2203.07259). The growth of the length is our own choice: it is proportional to
    the number of times that the remaining weights are halved.

    Each part can be left out, to see what it is worth: the first by `embeddings=pruned`, the second by a
    `pace` so small that one length stays, the third by a `hardness` of 0, which also trains no teacher.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="gmp-tuned",
        summary="gradual magnitude pruning, longer for sparser nets, with the dense net as teacher",
        source="Kurtic, Hoefler & Alistarh (2023), arXiv:2312.13547; "
        "schedule: Zhu & Gupta (2017), arXiv:1710.01878, equation 1; "
        "distillation: Hinton et al. (2015), arXiv:1503.02531, section 2",
        scopes=("body",),
        when="during",
        criterion="|w|, with a sparsity that rises by a cubic in time",
        equals=(
            "neuralmagic/sparseml 1c04a01 (cubic interpolation): no sparsity of the schedule "
            "differs by more than 2e-16; the training around it was compared with none"
        ),
    )
    pace: float = Field(1.0, gt=0)
    """Length factor: lengths of the recipe for each halving of the remaining weights; at least one in all."""
    since: float = Field(0.07, ge=0, lt=1)
    """Share of the training at which pruning begins."""
    until: float = Field(0.87, gt=0, le=1)
    """Share of the training at which the target is reached."""
    hardness: float = Field(1.0, ge=0, le=1)
    """Distillation weight: share of the loss that comes from the dense net. The rest comes from the task."""
    temperature: float = Field(2.0, gt=0)
    """Temperature of both nets. Above 1, the dense net's probabilities of wrong classes weigh more."""

    embeddings: Literal["dense", "pruned"] = "dense"
    """Embeddings and output layer: `dense`, or `pruned` where scope `all-2d` has them (not in proteins)."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.since >= self.until:
            found = f"pruning begins at {self.since:g} and ends at {self.until:g}"
            raise ValueError(f"{found}; since must be below until")
        return self

    def accept(self, target: Target) -> None:
        """Refuse scope `all-2d`, unless embeddings shall be pruned: that is then the only scope.

        Raises:
            UsageError: as `Method.accept`; or the scope contradicts `embeddings`.
        """
        if self.embeddings == "dense":
            super().accept(target)
        elif target.scope == "all-2d":
            super().accept(target.model_copy(update={"scope": "body"}))
        else:
            raise UsageError(
                f"method {self.label!r} does not support scope {target.scope!r}, which leaves out "
                "embeddings; it supports: all-2d, as in --scope all-2d"
            )

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train the teacher, rewind, then prune gradually under its loss."""
        distil = None
        if self.hardness:
            distil = Distillation(teacher="dense", hardness=self.hardness, temperature=self.temperature)
            yield Train(name="dense")
            yield Rewind()
        updater = Cubic(to=target, since=self.since, until=self.until)
        yield Train(updater=updater, distil=distil, length=self.length(target))

    def length(self, target: Target) -> float:
        """Length of the training as a multiple of the recipe: `pace` for each halving, to two decimals."""
        return max(1.0, round(self.pace * -math.log2(target.density), 2))
