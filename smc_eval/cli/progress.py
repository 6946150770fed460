"""Progress of a run: bars on a terminal, lines in a file or pipe, with the time left for the grid."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from smc_eval.cli.progress_state import Clock, ProgressState, hours, print_line
from smc_eval.engine.progress import Silent, Watcher
from smc_eval.planning.forecast import Forecast
from smc_eval.reporting.printable import printable
from smc_eval.store.record import Record

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
            print_line(self.console, f"warning: {text}")


class LineProgress(ProgressState):
    """For a file or a pipe: a line for each cell that ends, and one every few seconds during training."""

    def set_up(self) -> None:
        self.due = self.clock() + LINE_SECONDS

    def stage(self, label: str, steps: int, done: int) -> None:
        super().stage(label, steps, done)
        self._print_if_due()

    def step(self, done: int, loss: float | None) -> None:
        self.done, self.loss = done, loss
        self._print_if_due()

    def result(self, result: Record) -> None:
        outcome, worked = self.outcome(result), bool(self.stage_label)
        super().result(result)
        print_line(self.console, f"{self.elapsed} {outcome}{self.grid_left if worked else ''}")

    def _print_if_due(self) -> None:
        now = self.clock()
        if now >= self.due:
            self.due = now + LINE_SECONDS
            print_line(self.console, f"{self.elapsed} {self.place}: {self.stage_progress()}{self.grid_left}")


class DescriptionColumn(ProgressColumn):
    """The text beside a bar, computed whenever the bar is drawn."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.fields["describe"]()))


class LiveProgress(ProgressState):
    """For a terminal: a bar for all cells, and one for each running cell. A thread redraws them."""

    def set_up(self) -> None:
        run = cast("LiveProgress", self.run)
        self.bars: Progress = bars_on(self.console, self.clock) if run is self else run.bars
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
            print_line(self.console, f"{self.elapsed} {self.outcome(result)}", style)
        super().result(result)
        self.bars.remove_task(self.cell_bar)
        run = cast("LiveProgress", self.run)
        if run.run_bar is not None:
            self.bars.update(run.run_bar, completed=run.ended)

    def _run_text(self) -> str:
        left = self.left
        words = "" if left is None else f", about {hours(left)} left"
        return f"{self.ended}/{self.cells} cells, {self.elapsed} elapsed{words}"

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
