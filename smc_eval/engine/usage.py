"""The tally: what a net has cost so far, along its whole history."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Activity = Literal["train", "prune", "predict"]
"""What a cell spends time and operations on. Selecting an epoch is a part of training."""


def nothing() -> dict[str, int]:
    """Operations before the first."""
    return {"dense": 0, "sparse": 0}


@dataclass
class Usage:
    """Counts that grow along a chain; a stage loaded from the store brings its own."""

    steps: int = 0
    """Optimizer steps."""
    examples: int = 0
    """Examples trained on, each as often as it was seen."""
    scoring_passes: int = 0
    """Passes over a batch that pruners asked for: forward and backward, or forward alone to see inputs."""
    teacher_passes: int = 0
    """Forward passes of a teacher over a batch."""
    selections: int = 0
    """How often examples were predicted to select an epoch."""
    changes: int = 0
    """Mask changes."""
    regrown: int = 0
    """Weights that grew back."""
    parts: int = 1
    """In how many parts forward passes were made at worst, as memory was short."""
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "prune": 0.0, "predict": 0.0})
    flops: dict[str, dict[str, int] | None] = field(
        default_factory=lambda: {"train": nothing(), "prune": nothing(), "predict": nothing()}
    )
    """Operations, `dense` as if no weight were masked, `sparse` with those of each in proportion to its
    density. Of training (teachers' passes and selection included), of pruners' scoring passes, and
    of predicting the reported split; None where a stage comes from a release that counted none."""

    def as_meta(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self)

    def take(self, meta: Mapping[str, Any]) -> None:
        """Go on from the counts of a file, which `as_meta` made."""
        uncounted = {"train": None, "prune": None, "predict": nothing()}
        vars(self).update({"flops": uncounted} | dict(meta))

    def spend(self, what: Activity, operations: Mapping[str, int]) -> None:
        """Add operations, `dense` and `sparse`; what is not known for a part is not known for the whole."""
        if (known := self.flops[what]) is not None:
            self.flops[what] = {kind: count + operations[kind] for kind, count in known.items()}

    @contextmanager
    def timed(self, what: Activity) -> Iterator[None]:
        """Add the wall-clock seconds spent within, also when they end in an error."""
        since = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - since
