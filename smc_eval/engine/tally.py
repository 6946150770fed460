"""The tally: what a net has cost so far, along its whole history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass
class Tally:
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

    def as_meta(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self)

    @contextmanager
    def timed(self, what: Literal["train", "prune", "predict"]) -> Iterator[None]:
        """Add the wall-clock seconds spent within, also when they end in an error."""
        since = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - since
