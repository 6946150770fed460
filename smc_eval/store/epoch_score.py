"""The score of an epoch, where the best of several was selected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smc_eval.store.certificate import RECORD_CONFIG, Count


@dataclass(frozen=True)
class EpochScore:
    """What an epoch scored that selection compared."""

    __pydantic_config__ = RECORD_CONFIG

    step: Count
    """Optimizer steps of its training up to its end."""
    score: float
    """Its score, in the metric's unit, on what compares epochs: the reported examples, those of another
    split of the task, or held-out ones."""
    remaining: Count
    """Unpruned weights in scope. Only the sparsest epochs are compared."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Further scores of the same predictions."""
