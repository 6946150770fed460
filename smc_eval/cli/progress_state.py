"""Progress state: what a run does now, and the time that is left; displays of it are in `progress`."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from rich.console import Console
from rich.text import Text

from smc_eval.cli.time_left import TimeLeft
from smc_eval.engine.progress import TRAINING, StepValues, Watcher
from smc_eval.errors import first_line
from smc_eval.planning.forecast import Forecast, RunningCell
from smc_eval.reporting.printable import printable_lines
from smc_eval.store.record import Record, ScoreRecord

Clock = Callable[[], float]


class ProgressState:
    """The progress of a run, and an estimate of the time left. Subclasses show it.

    If many cells run at once, each lane has a state of its own, and `run` is the state of the whole run.
    """

    def __init__(
        self,
        console: Console,
        clock: Clock,
        run: ProgressState | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        self.console, self.clock = console, clock
        self.time_left = TimeLeft(forecast, clock) if forecast else None
        self.run = run or self
        self.lanes: list[ProgressState] = []
        self.run_began = self.cell_began = self.stage_began = clock()
        self.cells = self.number = self.ended = 0
        self.cell_label = self.stage_label = ""
        self.busy = False
        self.steps = self.first = self.done = 0
        self.loss: float | None = None
        self.trained = 0
        """Optimizer steps of the stages of this cell that have ended."""
        self.first_cell = True
        """Whether the lane works on its first cell, which also waits for its process to start."""
        self.set_up()

    def set_up(self) -> None:
        """Set up what a subclass shows."""

    def begin(self, cells: int) -> None:
        self.cells, self.run_began = cells, self.clock()

    def lane(self, number: int) -> Watcher:
        while len(self.lanes) <= number:
            self.lanes.append(type(self)(self.console, self.clock, self))
        return cast("Watcher", self.lanes[number])

    def cell(self, number: int, label: str) -> None:
        self.number, self.cell_label, self.stage_label, self.busy = number, label, "", True
        self.steps = self.first = self.done = self.trained = 0
        self.cell_began = self.clock()

    def stage(self, label: str, steps: int, done: int) -> None:
        if self.first_cell and not self.stage_label:
            self.cell_began = self.clock()
        self.trained += self.steps if self.trains else 0
        self.stage_label, self.steps, self.first, self.done, self.loss = label, steps, done, done, None
        self.stage_began = self.clock()

    def measure(self, read: Callable[[], StepValues]) -> None: ...

    def step(self, done: int, loss: float | None) -> None:
        self.done, self.loss = done, loss

    def note(self, text: str, *, warning: bool = False) -> None:
        place = "" if self.run is self else f"{self.place}: "
        print_line(self.console, f"{self.elapsed} {'warning: ' if warning else ''}{place}{text}")

    def result(self, result: Record) -> None:
        run, self.busy = self.run, False
        run.ended += 1
        seconds = self.clock() - self.cell_began if self.stage_label else None
        self.first_cell = self.first_cell and seconds is None
        if run.time_left:
            run.time_left.end(self.number, result, seconds, self.steps_done)

    @property
    def elapsed(self) -> str:
        """Time since the run began."""
        return hours(self.clock() - self.run.run_began)

    @property
    def place(self) -> str:
        """Number and label of the current cell: `3/12 mawps/gts fold 0 lth 0.488 seed 0`."""
        return f"{self.number}/{self.run.cells} {self.cell_label}"

    @property
    def trains(self) -> bool:
        """Whether the stage is a training."""
        return self.stage_label.startswith(TRAINING)

    @property
    def steps_done(self) -> int:
        """Optimizer steps of the cell so far."""
        return self.trained + (self.done if self.trains else 0)

    @property
    def left(self) -> float | None:
        """Estimated seconds to the end of the run; None while nothing is known about its cells."""
        run = self.run
        if run.time_left is None:
            return None
        lanes = run.lanes or [run]
        return run.time_left.seconds([lane.running_cell for lane in lanes if lane.busy], len(lanes))

    @property
    def running_cell(self) -> RunningCell:
        """The cell of this lane, for the forecast."""
        now, fresh = self.clock(), self.done - self.first
        paced = self.trains and fresh > 0 and now > self.stage_began
        pace = (now - self.stage_began) / fresh if paced else None
        return RunningCell(self.number, now - self.cell_began, self.steps_done, pace)

    @property
    def grid_left(self) -> str:
        """The time left for the whole grid, as the end of a line: `; grid: about 0:03:10 left`."""
        left = self.left
        return "" if left is None else f"; grid: about {hours(left)} left"

    def stage_progress(self) -> str:
        """The stage in words: steps, loss, rate, time left."""
        seconds, fresh = self.clock() - self.stage_began, self.done - self.first
        if self.steps <= 1:
            return f"{self.stage_label}, {hours(seconds)}"
        words = [self.stage_label, f"{self.done}/{self.steps}"]
        if self.loss is not None:
            words.append(f"loss {self.loss:.4g}")
        if fresh > 0 and seconds > 0:
            rate = fresh / seconds
            words += [f"{rate:.3g} steps/s", f"{hours((self.steps - self.done) / rate)} left"]
        return ", ".join(words)

    def outcome(self, result: Record) -> str:
        """The result of a cell in one line."""
        match result:
            case Record(status="ok", score=ScoreRecord() as score):
                fault = "" if result.sound else ", but its certificate failed"
                how = (
                    f" in {hours(self.clock() - self.cell_began)}" if self.stage_label else ", from the store"
                )
                return f"{self.place}: {score.metric} {score.value:.4g}{how}{fault}"
        reason = first_line(result.reason)
        return f"{self.place}: {result.status}{': ' if reason else ''}{reason}"


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print a line, or several, without terminal escapes of its own."""
    console.print(Text(printable_lines(line), style), soft_wrap=not console.is_terminal, highlight=False)


def hours(seconds: float) -> str:
    """Seconds as `1:02:03`."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
