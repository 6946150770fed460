"""Cards: how a plugin names itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smc_eval.spec import Spec
from smc_eval.target import Distribution, Scope

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+([-/][a-z0-9]+)*$")]
When = Literal["none", "before", "during", "after", "iterative", "custom"]
Accepts = Literal["text-encoder", "protein-encoder", "encoder-decoder", "scratch", "tiny"]


class Card(Spec):
    """What every plugin says of itself."""

    name: Name
    """What users type: lower case, parts joined by `-` or `/`."""
    summary: str = Field(min_length=1)
    """One line."""
    source: str = Field(min_length=1)
    """Where it was published: paper and equation, or an address."""


class MethodCard(Card):
    """A method's card."""

    when: When
    """When the mask is made, seen from training; `given`: it comes from elsewhere, sparsity and all."""
    patterns: tuple[Literal["free", "n:m"], ...] = ("free", "n:m")
    """Which patterns it can make."""
    distribution: Distribution = "global"
    """How it spreads a sparsity over tensors, unless the user says."""
    distributions: tuple[Distribution, ...] | None = None
    """Which spreads it can make; None stands for all."""
    scopes: tuple[Scope, ...] | None = None
    """Which scopes it can serve; None stands for all."""


class TaskCard(Card):
    """A task's card."""

    groups: tuple[Name, ...] = ()
    """Names that stand for this task among others, as in `--tasks arithmetic`; the widest last."""
    metric: str
    """What the score measures, and in which unit: `value accuracy (%)`."""
    chance: float = 0.0
    """The score of a guess, in the metric's unit."""
    folds: int | None = None
    """How many folds cross-validation has; None where there is one split."""
    accepts: tuple[Accepts, ...]
    """Kinds of model that can serve it."""
    published: str
    """The model of the published numbers, taken when none is named or it cannot serve."""
    licence: str = "unstated"
    """Licence of its data."""
