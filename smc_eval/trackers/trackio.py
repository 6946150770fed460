"""Trackio: a local database with a dashboard, or a Space of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, ClassVar

from smc_eval.trackers.tracker import Outcome, TrackedCell, TrackedRun, Tracker, TrackerCard


class Trackio(Tracker):
    """Runs of Trackio: a group for each grid, a run for each cell. `trackio show` shows them."""

    card: ClassVar[TrackerCard] = TrackerCard(
        name="trackio",
        summary="a local database of Trackio ($TRACKIO_DIR), or a Space of the Hugging Face hub",
        source="https://huggingface.co/docs/trackio",
        packages=("trackio",),
        install="smc-eval[trackers]",
    )

    project: str = "smc-eval"
    """Project of the runs."""
    space: str = ""
    """A Space of the Hugging Face hub, as USER/NAME. Empty: this machine."""

    def begin(self, cell: TrackedCell) -> TrackedRun:
        import trackio

        init = partial(
            trackio.init,
            self.project,
            name=cell.name,  # by which Trackio finds a run again: it makes the ids itself
            group=cell.group,
            space_id=self.space or None,
            config={"cell": cell.id, **cell.config},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        # in a context of its own: else Trackio ends the run of the cell that began before
        return TrackioRun(copy_context().run(init))


class TrackioRun(TrackedRun):
    """The run of one cell."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def end(self, outcome: Outcome) -> None:
        texts = {"status": outcome.status} | ({"reason": outcome.reason} if outcome.reason else {})
        self.run.log({**outcome.values, **texts}, step=outcome.step)
        self.run.finish()
