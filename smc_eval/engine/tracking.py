"""Tracking: the progress of a run, passed on to trackers beside the watcher that shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from smc_eval.engine.pace import Pace
from smc_eval.engine.progress import StepValues, Watcher
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.tracker_thread import LOG_SECONDS, TrackerThread, mutable_streams
from smc_eval.experiment.cell import Chain
from smc_eval.spec import Json
from smc_eval.store.record import Record, blank_record
from smc_eval.store.tracked_cells import TrackedCells
from smc_eval.trackers.tracker import Outcome, TrackedCell

CLOSE_SECONDS = 60.0
"""Seconds that trackers have, after the last cell, to write what waits."""
STOP_SECONDS = 10.0
"""The same where the run was interrupted."""

ASKED = ("task", "model", "method", "protocol", "seed", "fold", "match", "target", "recipe", "data")
"""Fields of a record that say what was asked."""


@contextmanager
def tracking(chains: Sequence[Chain], options: RunOptions) -> Iterator[RunOptions]:
    """Within, trackers see the run: options whose watcher passes everything on."""
    if not options.trackers:
        yield options
        return
    with ExitStack() as stack:
        stack.enter_context(mutable_streams())
        tracked = Tracking(chains, options)
        seconds = STOP_SECONDS
        try:
            yield replace(options, watcher=TrackedLane(options.watcher, tracked))
            seconds = CLOSE_SECONDS
        finally:
            tracked.close(seconds)


class Tracking:
    """The trackers of a run, each in its thread, and the lanes that feed them."""

    def __init__(self, chains: Sequence[Chain], options: RunOptions) -> None:
        self.chains, self.options = chains, options
        self.lanes: list[TrackedLane] = []
        self.store = options.folder.absolute()
        warn = self._warn
        self.threads = [
            TrackerThread(tracker, TrackedCells(self.store, tracker.label), warn)
            for tracker in options.trackers
        ]

    def cell(self, chain: Chain) -> TrackedCell:
        """A cell as trackers see it."""
        asked = blank_record(chain.cell, chain).to_json()
        config = dict(flat({name: asked[name] for name in ASKED}))
        return TrackedCell(chain.digest, chain.cell.label, self.options.group, self.store, config)

    def close(self, seconds: float) -> None:
        """End the runs of cells that were interrupted, and wait for all trackers."""
        for lane in self.lanes:
            lane.leave_cell()
        for thread in self.threads:
            thread.close(seconds)

    def _warn(self, text: str) -> None:
        self.options.watcher.note(text, warning=True)


class TrackedLane:
    """A watcher of one lane that passes everything on to another watcher, and to the trackers."""

    def __init__(self, watcher: Watcher, tracked: Tracking) -> None:
        self.watcher, self.tracked = watcher, tracked
        self.inner: dict[int, TrackedLane] = {}
        self.chain: Chain | None = None
        self.begun = False
        """Whether trackers know the cell: it runs here."""
        self.logged = 0
        """Last step of the cell that was logged."""
        self.steps = 0
        self.read: Callable[[], StepValues] | None = None
        self.pace = Pace(LOG_SECONDS)
        tracked.lanes.append(self)

    def begin(self, cells: int) -> None:
        self.watcher.begin(cells)

    def cell(self, number: int, label: str) -> None:
        self.leave_cell()
        self.chain = self.tracked.chains[number - 1]
        self.watcher.cell(number, label)

    def stage(self, label: str, steps: int, done: int) -> None:
        self.read, self.steps = None, steps
        if self.chain and not self.begun:
            self.begun = True
            cell = self.tracked.cell(self.chain)
            for thread in self.tracked.threads:
                thread.begin(cell)
        self.watcher.stage(label, steps, done)

    def measure(self, read: Callable[[], StepValues]) -> None:
        self.read = read
        self.watcher.measure(read)

    def step(self, done: int, loss: float | None) -> None:
        self.watcher.step(done, loss)
        last = done == self.steps
        if self.read and loss is not None and (last or self.pace.due):
            with self.pace.spending():
                self._log(self.read(), loss, last=last)

    def _log(self, values: StepValues, loss: float, *, last: bool) -> None:
        if not self.chain or values.step <= self.logged:  # another process reports values more rarely
            return
        self.logged = values.step
        shown = {"loss": loss, "learning_rate": values.learning_rate}
        if values.sparsity is not None:
            shown["sparsity"] = values.sparsity
        for thread in self.tracked.threads:
            thread.log(self.chain.digest, values.step, shown, last=last)

    def note(self, text: str, *, warning: bool = False) -> None:
        self.watcher.note(text, warning=warning)

    def result(self, result: Record) -> None:
        self.watcher.result(result)
        if self.chain and self.begun:
            for thread in self.tracked.threads:
                thread.end(self.chain.digest, outcome_of(result, self.logged))
        elif self.chain and self.tracked.options.alone:  # else another process shows it, or has
            cell = self.tracked.cell(self.chain)
            for thread in self.tracked.threads:
                thread.show_finished(cell, outcome_of(result, 0))
        self._forget_cell()

    def lane(self, number: int) -> Watcher:
        if number not in self.inner:
            self.inner[number] = TrackedLane(self.watcher.lane(number), self.tracked)
        return self.inner[number]

    def leave_cell(self) -> None:
        """The cell of this lane did not end here, if there is one."""
        if self.chain and self.begun:
            for thread in self.tracked.threads:
                thread.end(self.chain.digest, Outcome("stopped", self.logged, {}))
        self._forget_cell()

    def _forget_cell(self) -> None:
        self.chain, self.read, self.begun, self.logged = None, None, False, 0


def outcome_of(record: Record, logged: int) -> Outcome:
    """How a cell ended; `logged` is its last step that was logged."""
    values, reason = dict[str, float](), record.reason
    if record.score and record.certificate:
        certificate = record.certificate
        reason = reason or "; ".join(certificate.failed)
        values = {
            "score": record.score.value,
            "sparsity": certificate.reached,
            "certificate": float(certificate.ok),
        }
    step = record.cost.steps if record.cost else logged
    return Outcome("ok" if record.status == "ok" else "failed", step, values, reason, record.to_json())


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Nested values with one key each, as in `recipe.lr`. What is empty is left out; a list is a text."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            if value:
                yield prefix + name, json.dumps(value)
        elif value not in (None, ""):
            yield prefix + name, value
