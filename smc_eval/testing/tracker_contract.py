"""The contract of trackers: promises that every tracker must keep, built-in or from a plugin."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from smc_eval.spec import Json
from smc_eval.trackers.tracker import Outcome, TrackedCell, TrackedRun, Tracker

Logged = Mapping[str, Sequence[tuple[int, float]]]
"""Steps and values by name."""


def tracked_cell(store: Path, number: int = 0, group: str = "runs-0a1b2c3d") -> TrackedCell:
    """A cell as the engine gives it to trackers."""
    config: dict[str, Json] = {
        "task": "mawps/gts:hidden=128",
        "seed": number,
        "recipe.lr": 0.001,
        "recipe.betas": "[0.9]",
    }
    label = f"mawps/gts:hidden=128 fold 0 lth:share=0.3 2:4 seed {number}"
    return TrackedCell(f"{number + 10:x}" * 64, label, group, store, config)


def step_values(step: int) -> dict[str, float]:
    """Values that a float of 32 bits holds exactly."""
    return {"loss": 1 / 2**step, "learning_rate": step / 4, "sparsity": 0.5}


KILLED = """
import os, pickle, sys
tracker, cell, values = pickle.load(sys.stdin.buffer)
tracker.begin(cell).log(1, values)
os._exit(0)
"""
"""A process that begins a cell, logs a step and never ends the cell."""

DONE = Outcome("ok", 9, {"score": 62.5, "sparsity": 0.75, "certificate": 1.0}, "", {"task": "mawps/gts"})
FAILED = Outcome(
    "failed", 3, {}, "RuntimeError: the moon is full\nin a cell of task x", {"task": "mawps/gts"}
)
STOPPED = Outcome("stopped", 3, {})


class TrackerContract:
    """Promises that every tracker must keep. Subclass it in a test module, set `tracker`, write `logged`."""

    tracker: Tracker

    def logged(self, cell: TrackedCell) -> Logged:
        """What is found of a cell where the tracker wrote it, each step once; empty if there is no run.

        Read it from files. A cell that has two runs must give both, one after the other.
        """
        raise NotImplementedError

    def log(self, run: TrackedRun, steps: range) -> None:
        """Log the values of some steps."""
        for step in steps:
            run.log(step, step_values(step))

    def check(self, cell: TrackedCell, steps: range, outcome: Outcome | None) -> None:
        """Check that the values of these steps and of the end are found, and nothing else."""
        wanted = {name: [(step, step_values(step)[name]) for step in steps] for name in step_values(0)}
        for name, value in outcome.values.items() if outcome else ():
            wanted[name] = [*wanted.get(name, []), (outcome.step, value)] if outcome else []
        logged = self.logged(cell)
        for name, values in wanted.items():
            written = list(logged.get(name, ()))
            assert written == values, f"of {name!r} it keeps {written}; it was given {values}"

    def store(self, tmp_path: Path) -> Path:
        """The folder of a store."""
        store = tmp_path / "smc-eval-runs"
        store.mkdir()
        return store

    def test_its_packages_are_installed(self) -> None:
        self.tracker.check()

    def test_a_cell_is_found_with_all_its_values(self, tmp_path: Path) -> None:
        cell = tracked_cell(self.store(tmp_path))
        run = self.tracker.begin(cell)
        self.log(run, range(1, 4))
        run.end(DONE)
        self.check(cell, range(1, 4), DONE)

    def test_two_cells_at_a_time_keep_their_values_apart(self, tmp_path: Path) -> None:
        store = self.store(tmp_path)
        cells = [tracked_cell(store, number) for number in range(2)]
        runs = [self.tracker.begin(cell) for cell in cells]
        self.log(runs[0], range(1, 3))
        self.log(runs[1], range(3, 6))
        self.log(runs[0], range(3, 4))
        for run in runs:
            run.end(DONE)
        self.check(cells[0], range(1, 4), DONE)
        self.check(cells[1], range(3, 6), DONE)

    def test_a_cell_that_was_stopped_goes_on_in_the_same_run(self, tmp_path: Path) -> None:
        cell = tracked_cell(self.store(tmp_path))
        run = self.tracker.begin(cell)
        self.log(run, range(1, 4))
        run.end(STOPPED)
        run = self.tracker.begin(cell)
        self.log(run, range(3, 7))  # from a checkpoint: step 3 comes again
        run.end(DONE)
        self.check(cell, range(1, 7), DONE)

    def test_a_cell_that_was_killed_goes_on(self, tmp_path: Path) -> None:
        cell = tracked_cell(self.store(tmp_path))
        given = pickle.dumps((self.tracker, cell, step_values(1)))
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", KILLED], input=given, env=env, check=True)  # noqa: S603
        run = self.tracker.begin(cell)
        self.log(run, range(1, 4))
        run.end(DONE)
        self.check(cell, range(1, 4), DONE)

    def test_a_cell_that_failed_goes_on_when_it_is_tried_again(self, tmp_path: Path) -> None:
        cell = tracked_cell(self.store(tmp_path))
        run = self.tracker.begin(cell)
        self.log(run, range(1, 3))
        run.end(FAILED)
        run = self.tracker.begin(cell)
        self.log(run, range(1, 5))
        run.end(DONE)
        self.check(cell, range(1, 5), DONE)

    def test_a_finished_cell_without_steps_is_found(self, tmp_path: Path) -> None:
        cell = tracked_cell(self.store(tmp_path))
        self.tracker.begin(cell).end(DONE)
        self.check(cell, range(0), DONE)

    def test_no_option_of_it_is_needed(self) -> None:
        name = type(self.tracker)().label
        assert name == self.tracker.card.name, f"without options it is {name!r}"
