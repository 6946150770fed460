"""Usage: what a net has cost so far, along its whole chain."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from smc_eval.sparse.sight import unseen_share
from smc_eval.store.cost import ActivityFlops, ActivitySeconds, Cost, FlopCount
from smc_eval.store.record import ObservedInputs

Activity = Literal["train", "prune", "predict"]
"""What a cell spends time and operations on. Selecting an epoch is part of training."""

ACTIVITIES: tuple[Activity, ...] = ("train", "prune", "predict")


@dataclass
class Usage:
    """Counts that grow along a chain. A stage that is loaded from the store brings its own.

    `dataclasses.asdict` gives plain values for a file; `Usage(**values)` reads them back.
    """

    steps: int = 0
    """Optimizer steps."""
    examples: int = 0
    """Training examples seen, with repetition."""
    scoring_passes: int = 0
    """Batches that pruners passed through the net: forward and backward, or only forward."""
    teacher_passes: int = 0
    """Batches that a teacher predicted."""
    perturbed_passes: int = 0
    """Batches that an optimizer passed through the net again, forward and backward, at perturbed weights."""
    selections: int = 0
    """How often examples were predicted to select an epoch."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """The scores of all epochs of the last training, if it selected one; each as an `EpochScore` has it."""
    changes: int = 0
    """Mask changes."""
    regrown: int = 0
    """Weights that grew back."""
    parts: int = 1
    """Largest number of parts into which batches were cut to fit into memory."""
    unseen: dict[str, float] = field(default_factory=dict)
    """Share of each tensor of which a pruner that looks at inputs saw none; only tensors that have some."""
    padded: list[str] = field(default_factory=list)
    """Tensors whose inputs may have included padding when a pruner looked at them."""
    sparse_maps: list[str] = field(default_factory=list)
    """Weights whose linear maps ran sparse in a training."""
    kernel_versions: list[str] = field(default_factory=list)
    """Versions of the libraries that sparse kernels of a training could use, such as `numba 0.63.1`."""
    notes: list[str] = field(default_factory=list)
    """Notes of pruners for the reader, each line once."""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ACTIVITIES, 0.0))
    """Wall-clock seconds by activity."""
    flops: dict[str, dict[str, int]] = field(
        default_factory=lambda: {activity: {"dense": 0, "sparse": 0} for activity in ACTIVITIES}
    )
    """Operations by activity. `dense` counts every weight; `sparse` counts each weight in proportion to
    its density. Training includes teachers' passes and selection; pruning is the scoring passes;
    predicting is of the reported split."""

    uncounted: list[str] = field(default_factory=list)
    """Kernels that multiply and whose operations are not in `flops`, because no formula is known."""
    skipped_steps: int = 0
    """Optimizer steps that the loss scaler skipped, because a gradient overflowed."""

    def spend(self, activity: Activity, operations: Mapping[str, int], uncounted: Iterable[str] = ()) -> None:
        """Add operations, `dense` and `sparse`, and the kernels that could not be counted."""
        self.uncounted = sorted({*self.uncounted, *uncounted})
        before = self.flops[activity]
        self.flops[activity] = {kind: count + operations[kind] for kind, count in before.items()}

    def look(self, unseen: Mapping[str, float], padded: Iterable[str]) -> None:
        """Add what a pruner has not seen of the inputs."""
        worst = {name: max(share, self.unseen.get(name, 0.0)) for name, share in unseen.items()}
        self.unseen, self.padded = self.unseen | worst, sorted({*self.padded, *padded})

    @contextmanager
    def timed(self, activity: Activity) -> Iterator[None]:
        """Add the wall-clock seconds spent within, also if an error ends them."""
        since = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[activity] += time.perf_counter() - since

    def inputs(self, shapes: Mapping[str, tuple[int, ...]]) -> ObservedInputs | None:
        """What the record says of unseen and padded inputs; None if there is nothing to say."""
        if not self.unseen and not self.padded:
            return None
        return ObservedInputs(unseen_share(self.unseen, shapes), self.unseen, tuple(self.padded))

    def cost(self, peak_bytes: int, peak_of: str) -> Cost:
        """These counts and the peak memory, as the record has them."""
        return Cost(
            steps=self.steps,
            examples=self.examples,
            scoring_passes=self.scoring_passes,
            teacher_passes=self.teacher_passes,
            perturbed_passes=self.perturbed_passes,
            selections=self.selections,
            seconds=ActivitySeconds(**self.seconds),
            flops=ActivityFlops(**{activity: FlopCount(**count) for activity, count in self.flops.items()}),
            peak_memory_mb=round(peak_bytes / 2**20),
            peak_memory_of=peak_of,
            parts=self.parts,
            skipped_steps=self.skipped_steps,
            uncounted=tuple(self.uncounted),
        )
