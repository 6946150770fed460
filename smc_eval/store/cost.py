"""The cost of a cell, as its record holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from smc_eval.store.certificate import RECORD_CONFIG, Count

Seconds = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class ActivitySeconds:
    """Wall-clock seconds."""

    __pydantic_config__ = RECORD_CONFIG

    train: Seconds
    """Of all trainings of the chain."""
    prune: Seconds
    """Of the pruners, with their passes."""
    predict: Seconds
    """Of predicting the reported split."""


@dataclass(frozen=True)
class FlopCount:
    """Floating-point operations."""

    __pydantic_config__ = RECORD_CONFIG

    dense: Count
    """As if nothing were pruned."""
    sparse: Count
    """If pruned weights cost nothing."""


@dataclass(frozen=True)
class ActivityFlops:
    """Operations of training, of the pruners' scoring passes, and of predicting the reported split."""

    __pydantic_config__ = RECORD_CONFIG

    train: FlopCount
    prune: FlopCount
    predict: FlopCount


@dataclass(frozen=True)
class Cost:
    """Cost of a net, over its whole chain."""

    __pydantic_config__ = RECORD_CONFIG

    steps: Count
    """Optimizer steps."""
    examples: Count
    """Training examples seen, with repetition."""
    scoring_passes: Count
    """Batches that pruners passed through the net."""
    teacher_passes: Count
    """Batches that a teacher predicted."""
    selections: Count
    """How often a validation split was predicted to select an epoch."""
    seconds: ActivitySeconds
    flops: ActivityFlops
    peak_memory_mb: Count
    """Highest use of memory, in MiB; the next key says of what."""
    peak_memory_of: str
    """Whether the peak is that of the cell or of the whole process."""
    parts: Annotated[int, Field(exclude_if=lambda v: v == 1)] = 1
    """Parts that each batch was split into, to fit into memory."""
    perturbed_passes: Annotated[int, Field(exclude_if=lambda v: not v)] = 0
    """Batches that an optimizer passed through the net again, at perturbed weights."""
    skipped_steps: Annotated[int, Field(exclude_if=lambda v: not v)] = 0
    """Steps of `steps` that the loss scaler of fp16 skipped, because a gradient overflowed."""
    uncounted: Annotated[tuple[str, ...], Field(exclude_if=lambda v: not v)] = ()
    """Kernels that multiply and whose operations are not in `flops`, because no formula is known."""
