"""Cards: name, source and abilities of a method or a task."""

from __future__ import annotations

from typing import Literal

from smc_eval.spec import Card, Name
from smc_eval.target import Distribution, Scope

When = Literal["none", "before", "during", "after", "iterative", "custom"]
Pattern = Literal["free", "n:m", "heads", "neurons"]


class MethodCard(Card):
    """The card of a method, with the targets that it supports.

    `Method.accept` refuses every other target before anything runs.
    """

    when: When
    """When the masks are made: before, during or after training, or iteratively. `none`: it prunes nothing.
    `custom`: the masks come from elsewhere, and the sparsity with them."""
    patterns: tuple[Pattern, ...] = ("free", "n:m")
    """Sparsity patterns that it supports: `free` is unstructured, `n:m` is N of every M; `heads` and
    `neurons` prune these whole."""
    distribution: Distribution = "global"
    """Default distribution of the sparsity over the tensors."""
    distributions: tuple[Distribution, ...] | None = None
    """Distributions that it supports; None means all."""
    scopes: tuple[Scope, ...] | None = None
    """Scopes that it supports; None means all."""
    constant_fan_in: bool = False
    """Whether it promises that the rows of a tensor which have weights have equally many, or one more. The
    certificate checks it."""
    criterion: str = ""
    """What decides which weights remain, as a formula or in words: `|w|`. The table of methods shows it."""
    equals: str = ""
    """The published implementation that it equals: repository, commit and measured disagreement; where it
    differs, how. Empty: it was compared with none."""


class TaskCard(Card):
    """The card of a task."""

    groups: tuple[Name, ...] = ()
    """Groups of tasks that contain it, as in `--tasks arithmetic`; the largest group comes last."""
    by_name: bool = False
    """Whether only its name chooses it: it is in no group, also not in `all`, because it needs an option."""
    metric: str
    """The metric of the score, with its unit: `value accuracy (%)`. Empty if an option decides it; the score
    names it."""
    chance: float = 0.0
    """The score of a random guess, in the metric's unit."""
    folds: int | None = None
    """Number of cross-validation folds; None if the task has one split."""
    accepts: tuple[Name, ...]
    """Kinds of model that it accepts, and of `tiny` and `scratch` those that it builds."""
    published: str
    """The model of the published numbers. It is the default, and a task of a group that rejects the named
    model keeps it."""
    licence: str = "unstated"
    """Licence of the data."""
