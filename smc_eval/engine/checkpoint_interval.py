"""Checkpoint interval: when a training saves its state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

MIN_SECONDS = 30.0
"""Fewest seconds between two checkpoints, unless the user sets the interval."""
SHARE = 0.03
"""Largest share of the training time that checkpoints take, unless the user sets the interval."""
BYTES_PER_SECOND = 100e6
"""Assumed speed of a checkpoint until one was timed."""


class CheckpointInterval:
    """The time between two checkpoints of one training.

    With `seconds`, that many. Else at least `MIN_SECONDS`, and so many that all checkpoints together take at
    most `SHARE` of the seconds of training so far. The last checkpoint predicts the seconds of the next
    one, and `size`, in bytes, those of the first.
    """

    def __init__(self, seconds: float | None, size: int) -> None:
        self.seconds = seconds
        self.predicted, self.spent = size / BYTES_PER_SECOND, 0.0
        self.began = self.saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether to save a checkpoint now."""
        now = time.monotonic()
        if self.seconds is not None:
            return now - self.saved > self.seconds
        training = now - self.began - self.spent
        return now - self.saved > MIN_SECONDS and self.spent + self.predicted <= SHARE * training

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Within, a checkpoint is saved, and its seconds are counted."""
        began = time.monotonic()
        yield
        self.saved = time.monotonic()
        self.predicted = self.saved - began
        self.spent += self.predicted
