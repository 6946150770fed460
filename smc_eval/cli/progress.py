"""What a person sees of a run while it works: bars on a terminal, lines in a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from smc_eval.engine.progress import Silent, Watcher
from smc_eval.errors import first_line
from smc_eval.store.record import Record, ScoreRecord

Clock = Callable[[], float]

LINE_SECONDS = 5.0
"""Between two lines of progress in a file."""

FRAMES = 2.0
"""Redraws per second on a terminal. One costs about a millisecond."""


@contextmanager
def progress_on(console: Console, quiet: bool, clock: Clock = time.monotonic) -> Iterator[Watcher]:  # noqa: FBT001
    """A watcher for a run: a live display on a terminal, lines elsewhere, warnings alone if quiet.

    A console that breaks, its pipe closed or its disk full, stops no run.
    """
    file = console.file
    console.file = cast("IO[str]", Forgiving(file))
    try:
        if quiet:
            yield Quiet(console)
        elif console.is_interactive:
            screen = Screen(console, clock)
            with screen.bars:
                yield screen
        else:
            yield Lines(console, clock)
    finally:
        console.file = file


class Forgiving:
    """A text file that swallows its own faults: what it says is never worth a lost run."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            return self.file.write(text)
        except UnicodeEncodeError as error:
            return self.write(text.encode(error.encoding, "replace").decode(error.encoding))
        except (OSError, ValueError):  # a closed file is a ValueError
            return len(text)

    def flush(self) -> None:
        """Flush, if there is still something to flush to."""
        try:
            self.file.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class Quiet(Silent):
    """Passes on warnings and nothing else."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def note(self, text: str, *, warning: bool = False) -> None:
        """Print a warning."""
        if warning:
            _print(self.console, f"warning: {text}")


class Account:
    """Remembers progress and estimates the time left. Its subclasses show it.

    If many cells run at once, each lane has an account of its own; the whole has the sums.
    """

    def __init__(self, console: Console, clock: Clock, whole: Account | None = None) -> None:
        self.console, self.clock = console, clock
        self.whole = whole or self
        self.lanes: list[Account] = []
        self.began = self.cell_began = self.stage_began = clock()
        self.cells = self.number = self.ended = 0
        self.label = self.doing = ""
        self.busy = False
        self.steps = self.first = self.done = 0
        self.loss = 0.0
        self.worked = 0
        """Cells that were not found finished in the store."""
        self.worked_seconds = 0.0

    def begin(self, cells: int) -> None:
        self.cells, self.began = cells, self.clock()

    def lane(self, number: int) -> Watcher:
        while len(self.lanes) <= number:
            self.lanes.append(type(self)(self.console, self.clock, self))
        return cast("Watcher", self.lanes[number])

    def cell(self, number: int, label: str) -> None:
        self.number, self.label, self.doing, self.busy = number, label, "", True
        self.steps = self.first = self.done = 0
        self.cell_began = self.clock()

    def stage(self, label: str, steps: int, done: int) -> None:
        self.doing, self.steps, self.first, self.done, self.loss = label, steps, done, done, 0.0
        self.stage_began = self.clock()

    def step(self, done: int, loss: float) -> None:
        self.done, self.loss = done, loss

    def note(self, text: str, *, warning: bool = False) -> None:
        whose = "" if self.whole is self else f"{self.place}: "
        _print(self.console, f"{self.gone} {'warning: ' if warning else ''}{whose}{text}")

    def result(self, result: Record) -> None:
        whole, self.busy = self.whole, False
        whole.ended += 1
        if self.doing:
            whole.worked += 1
            whole.worked_seconds += self.clock() - self.cell_began

    @property
    def gone(self) -> str:
        """Time since the run began."""
        return _hours(self.clock() - self.whole.began)

    @property
    def place(self) -> str:
        """Which cell of how many: `3/12 mawps/gts fold 0 lth 0.488 seed 0`."""
        return f"{self.number}/{self.whole.cells} {self.label}"

    @property
    def left(self) -> float | None:
        """Seconds to the end, if cells go on as those that ran; None before the first has."""
        if not self.worked:
            return None
        lanes = self.lanes or [self]
        spent = sum(self.clock() - lane.cell_began for lane in lanes if lane.busy)
        owed = (self.cells - self.ended) * self.worked_seconds / self.worked - spent
        return max(0.0, owed / len(lanes))

    def progress(self) -> str:
        """The stage in words: steps, loss, rate, time left."""
        seconds, fresh = self.clock() - self.stage_began, self.done - self.first
        if self.steps <= 1:
            return f"{self.doing}, {_hours(seconds)}"
        words = [self.doing, f"{self.done}/{self.steps}"]
        if self.loss:
            words.append(f"loss {self.loss:.4g}")
        if fresh > 0 and seconds > 0:
            rate = fresh / seconds
            words += [f"{rate:.3g} steps/s", f"{_hours((self.steps - self.done) / rate)} left"]
        return ", ".join(words)

    def outcome(self, result: Record) -> str:
        """The end of a cell in one line."""
        found = "" if self.doing else ", from the store"
        match result:
            case Record(status="ok", score=ScoreRecord() as score):
                doubt = "" if result.sound else ", but its certificate failed"
                took = f" in {_hours(self.clock() - self.cell_began)}" if self.doing else found
                return f"{self.place}: {score.metric} {score.value:.4g}{took}{doubt}"
        reason = first_line(result.reason)
        return f"{self.place}: {result.status}{': ' if reason else ''}{reason}"


class Lines(Account):
    """For a file or a pipe: a line for each cell that ends, and one for each few seconds of steps."""

    def __init__(self, console: Console, clock: Clock, whole: Account | None = None) -> None:
        super().__init__(console, clock, whole)
        self.due = clock() + LINE_SECONDS

    def stage(self, label: str, steps: int, done: int) -> None:
        super().stage(label, steps, done)
        self._tell()

    def step(self, done: int, loss: float) -> None:
        self.done, self.loss = done, loss
        self._tell()

    def result(self, result: Record) -> None:
        _print(self.console, f"{self.gone} {self.outcome(result)}")
        super().result(result)

    def _tell(self) -> None:
        now = self.clock()
        if now >= self.due:
            self.due = now + LINE_SECONDS
            _print(self.console, f"{self.gone} {self.place}: {self.progress()}")


class DescriptionColumn(ProgressColumn):
    """What the owner of a bar says of itself when the picture is drawn."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["describe"]())


class Screen(Account):
    """For a terminal: a bar for all cells, and one for each cell that runs. A thread redraws them."""

    def __init__(self, console: Console, clock: Clock, whole: Screen | None = None) -> None:
        super().__init__(console, clock, whole)
        self.bars: Progress = whole.bars if whole else bars_on(console, clock)
        self.bar: TaskID | None = None

    def begin(self, cells: int) -> None:
        super().begin(cells)
        self.bar = self.bars.add_task("", total=cells, describe=self._cells)

    def cell(self, number: int, label: str) -> None:
        super().cell(number, label)
        self.own = self.bars.add_task("", total=None, describe=self._cell)

    def stage(self, label: str, steps: int, done: int) -> None:
        super().stage(label, steps, done)
        self.bars.update(self.own, total=max(1, steps), completed=done)

    def step(self, done: int, loss: float) -> None:
        super().step(done, loss)
        self.bars.update(self.own, completed=done)

    def result(self, result: Record) -> None:
        if self.doing or result.status != "ok":  # cells of the store are only counted
            style = "" if result.sound else "red"
            _print(self.console, f"{self.gone} {self.outcome(result)}", style)
        super().result(result)
        self.bars.remove_task(self.own)
        whole = cast("Screen", self.whole)
        if whole.bar is not None:
            self.bars.update(whole.bar, completed=whole.ended)

    def _cells(self) -> str:
        left = "" if self.left is None else f", about {_hours(self.left)} left"
        return f"{self.ended}/{self.cells} cells, {self.gone} gone{left}"

    def _cell(self) -> str:
        return f"{self.place}: {self.progress()}" if self.doing else self.place


def bars_on(console: Console, clock: Clock) -> Progress:
    """The bars of a terminal, each with its description beside it."""
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
    console.print(Text(line, style), soft_wrap=not console.is_terminal, highlight=False)


def _hours(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
