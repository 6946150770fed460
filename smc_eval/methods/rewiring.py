"""Rewiring: the schedule that methods of dynamic sparse training share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from smc_eval.sparse.schedule import cosine, spacing
from smc_eval.updater import Updater

if TYPE_CHECKING:
    from torch import Tensor


class Rewiring(Updater):
    """At some steps, each tensor exchanges a share of its weights; the share falls by a cosine.

    Evci et al. (2020), section 3. A subclass decides which weights go and which come.
    """

    share: float = Field(0.3, gt=0, le=1)
    """Share of a tensor's weights that the first change prunes."""
    end: float = Field(0.0, ge=0, le=1)
    """Share at `stop`; between them the share falls by a cosine. Equal to `share`, it stays constant."""
    stop: float = Field(0.75, gt=0, le=1)
    """Share of training after which the masks stay."""
    every: int = Field(100, ge=2)
    """Optimizer steps between two changes."""
    events: PositiveInt = 6
    """Smallest number of changes. In a short training the interval shrinks to reach it, but not below two
    steps, so that weights are trained in between."""

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """No state: the schedule depends on the step alone."""
        return {}

    def due(self, step: int, steps: int) -> float | None:
        """The share to prune at this step; None if the masks do not change."""
        if step not in self.changes(steps):
            return None
        return cosine(self.share, self.end, step / (self.stop * steps))

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]]:
        """No change: as many weights grow as are pruned."""
        return ()

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """No step."""
        return ()

    def changes(self, steps: int) -> range:
        """The steps at which the masks change."""
        return range(self.interval(steps), math.ceil(self.stop * steps), self.interval(steps))

    def interval(self, steps: int) -> int:
        """Steps between two changes."""
        return max(2, spacing(int(self.stop * steps), self.every, self.events))
