"""Progress of a run: bars on a terminal, lines in a file or pipe, with the time left for the grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from smc_eval.engine.progress import TRAINING, Silent, StepValues, Watcher
from smc_eval.errors import first_line
from smc_eval.planning.forecast import Forecast, RunningCell
from smc_eval.reporting.printable import printable, printable_lines
from smc_eval.store.record import Record, ScoreRecord

Clock = Callable[[], float]

LINE_SECONDS = 5.0
"""Seconds between two lines of progress in a file."""

FRAMES = 2.0
"""Redraws per second on a terminal. One takes about a millisecond."""


@contextmanager
def progress_on(
    console: Console,
    quiet: bool,  # noqa: FBT001
    clock: Clock = time.monotonic,
    forecast: Forecast | None = None,
) -> Iterator[Watcher]:
    """A watcher for a run: bars on a terminal, lines elsewhere, only warnings if quiet.

    Without a forecast no time left is shown.

    A console that cannot be written, with a closed pipe or a full disk, never stops the run.
    """
    file = console.file
    console.file = cast("IO[str]", TolerantFile(file))
    try:
        if quiet:
            yield WarningsOnly(console)
        elif console.is_interactive:
            progress = LiveProgress(console, clock, forecast=forecast)
            with progress.bars:
                yield progress
        else:
            yield LineProgress(console, clock, forecast=forecast)
    finally:
        console.file = file


class TolerantFile:
    """A text file that ignores its own write errors, because progress is never worth a lost run."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, text: str) -> int:
        """Write as much as possible; characters that the encoding lacks become question marks."""
        try:
            return self.file.write(text)
        except UnicodeEncodeError as error:
            return self.write(text.encode(error.encoding, "replace").decode(error.encoding))
        except (OSError, ValueError):  # a closed file raises ValueError
            return len(text)

    def flush(self) -> None:
        """Flush, if possible."""
        try:
            self.file.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class WarningsOnly(Silent):
    """Prints warnings and nothing else."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def note(self, text: str, *, warning: bool = False) -> None:
        """Print a warning."""
        if warning:
            _print(self.console, f"warning: {text}")


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
        self.console, self.clock, self.forecast = console, clock, forecast
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
        _print(self.console, f"{self.elapsed} {'warning: ' if warning else ''}{place}{text}")

    def result(self, result: Record) -> None:
        run, self.busy = self.run, False
        run.ended += 1
        seconds = self.clock() - self.cell_began if self.stage_label else None
        self.first_cell = self.first_cell and seconds is None
        if run.forecast:
            run.forecast.end(self.number, result, seconds, self.steps_done)

    @property
    def elapsed(self) -> str:
        """Time since the run began."""
        return _hours(self.clock() - self.run.run_began)

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
        lanes = run.lanes or [run]
        running = [lane.running_cell for lane in lanes if lane.busy]
        return run.forecast.seconds_left(running, len(lanes)) if run.forecast else None

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
        return "" if left is None else f"; grid: about {_hours(left)} left"

    def stage_progress(self) -> str:
        """The stage in words: steps, loss, rate, time left."""
        seconds, fresh = self.clock() - self.stage_began, self.done - self.first
        if self.steps <= 1:
            return f"{self.stage_label}, {_hours(seconds)}"
        words = [self.stage_label, f"{self.done}/{self.steps}"]
        if self.loss is not None:
            words.append(f"loss {self.loss:.4g}")
        if fresh > 0 and seconds > 0:
            rate = fresh / seconds
            words += [f"{rate:.3g} steps/s", f"{_hours((self.steps - self.done) / rate)} left"]
        return ", ".join(words)

    def outcome(self, result: Record) -> str:
        """The result of a cell in one line."""
        match result:
            case Record(status="ok", score=ScoreRecord() as score):
                fault = "" if result.sound else ", but its certificate failed"
                how = (
                    f" in {_hours(self.clock() - self.cell_began)}"
                    if self.stage_label
                    else ", from the store"
                )
                return f"{self.place}: {score.metric} {score.value:.4g}{how}{fault}"
        reason = first_line(result.reason)
        return f"{self.place}: {result.status}{': ' if reason else ''}{reason}"


class LineProgress(ProgressState):
    """For a file or a pipe: a line for each cell that ends, and one every few seconds during training."""

    def __init__(
        self,
        console: Console,
        clock: Clock,
        run: ProgressState | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        super().__init__(console, clock, run, forecast)
        self.due = clock() + LINE_SECONDS

    def stage(self, label: str, steps: int, done: int) -> None:
        super().stage(label, steps, done)
        self._print_if_due()

    def step(self, done: int, loss: float | None) -> None:
        self.done, self.loss = done, loss
        self._print_if_due()

    def result(self, result: Record) -> None:
        outcome, worked = self.outcome(result), bool(self.stage_label)
        super().result(result)
        _print(self.console, f"{self.elapsed} {outcome}{self.grid_left if worked else ''}")

    def _print_if_due(self) -> None:
        now = self.clock()
        if now >= self.due:
            self.due = now + LINE_SECONDS
            _print(self.console, f"{self.elapsed} {self.place}: {self.stage_progress()}{self.grid_left}")


class DescriptionColumn(ProgressColumn):
    """The text beside a bar, computed whenever the bar is drawn."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.fields["describe"]()))


class LiveProgress(ProgressState):
    """For a terminal: a bar for all cells, and one for each running cell. A thread redraws them."""

    def __init__(
        self,
        console: Console,
        clock: Clock,
        run: LiveProgress | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        super().__init__(console, clock, run, forecast)
        self.bars: Progress = run.bars if run else bars_on(console, clock)
        self.run_bar: TaskID | None = None

    def begin(self, cells: int) -> None:
        super().begin(cells)
        self.run_bar = self.bars.add_task("", total=cells, describe=self._run_text)

    def cell(self, number: int, label: str) -> None:
        super().cell(number, label)
        self.cell_bar = self.bars.add_task("", total=None, describe=self._cell_text)

    def stage(self, label: str, steps: int, done: int) -> None:
        super().stage(label, steps, done)
        self.bars.update(self.cell_bar, total=max(1, steps), completed=done)

    def step(self, done: int, loss: float | None) -> None:
        super().step(done, loss)
        self.bars.update(self.cell_bar, completed=done)

    def result(self, result: Record) -> None:
        if self.stage_label or result.status != "ok":  # finished cells of the store are only counted
            style = "" if result.sound else "red"
            _print(self.console, f"{self.elapsed} {self.outcome(result)}", style)
        super().result(result)
        self.bars.remove_task(self.cell_bar)
        run = cast("LiveProgress", self.run)
        if run.run_bar is not None:
            self.bars.update(run.run_bar, completed=run.ended)

    def _run_text(self) -> str:
        left = "" if self.left is None else f", about {_hours(self.left)} left"
        return f"{self.ended}/{self.cells} cells, {self.elapsed} elapsed{left}"

    def _cell_text(self) -> str:
        return f"{self.place}: {self.stage_progress()}" if self.stage_label else self.place


def bars_on(console: Console, clock: Clock) -> Progress:
    """The bars of a terminal, each with its text beside it."""
    return Progress(
        BarColumn(max(8, min(30, console.width // 3))),
        DescriptionColumn(Column(no_wrap=True, overflow="ellipsis")),
        console=console,
        get_time=clock,
        refresh_per_second=FRAMES,
        transient=True,
        redirect_stdout=False,
    )


def _print(console: Console, line: str, style: str = "") -> None:
    console.print(Text(printable_lines(line), style), soft_wrap=not console.is_terminal, highlight=False)


def _hours(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
