"""The progress of a run on a terminal and in a file, with a clock that the tests set."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from smc_eval.cli.progress import LineProgress, LiveProgress, WarningsOnly, progress_on
from smc_eval.engine.progress import Silent, Watcher
from smc_eval.methods.dense import Dense
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.planning.forecast import Forecast
from smc_eval.store.record import Record
from smc_eval.target import Target
from smc_eval.testing.cell_runs import chain_of, run_chain


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def plain() -> Console:
    """The console of a run without a terminal."""
    return Console(file=io.StringIO(), force_terminal=False)


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def lines(console: Console) -> list[str]:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


def drawn(screen: LiveProgress) -> list[str]:
    """The texts on a terminal, without the bars."""
    with screen.console.capture() as capture:
        screen.console.print(screen.bars.get_renderable())
    return [line.strip("━╸╺ ") for line in capture.get().splitlines()]


def work(watcher: Watcher, clock: Clock, *, steps: int = 100, seconds: float = 20.0) -> None:
    """A training with evenly spaced steps."""
    watcher.stage(f"train {steps} steps", steps, 0)
    began = clock.now
    for step in range(1, steps + 1):
        clock.now = began + seconds * step / steps
        watcher.step(step, 2.0 / step)


def test_without_a_terminal_there_is_a_line_every_five_seconds_and_one_for_each_cell(record, clock) -> None:
    console = plain()
    with progress_on(console, False, clock) as watcher:
        watcher.begin(2)
        watcher.cell(1, "t/a dense 0 seed 0")
        work(watcher, clock)
        watcher.result(record("dense", value=81.25))
        watcher.cell(2, "t/a lth 0.5 seed 0")
        watcher.result(record("lth", value=100.0))
    assert lines(console) == [
        "0:00:05 1/2 t/a dense 0 seed 0: train 100 steps, 25/100, loss 0.08, 5 steps/s, 0:00:15 left",
        "0:00:10 1/2 t/a dense 0 seed 0: train 100 steps, 50/100, loss 0.04, 5 steps/s, 0:00:10 left",
        "0:00:15 1/2 t/a dense 0 seed 0: train 100 steps, 75/100, loss 0.02667, 5 steps/s, 0:00:05 left",
        "0:00:20 1/2 t/a dense 0 seed 0: train 100 steps, 100/100, loss 0.02, 5 steps/s, 0:00:00 left",
        "0:00:20 1/2 t/a dense 0 seed 0: accuracy (%) 81.25 in 0:00:20",
        "0:00:20 2/2 t/a lth 0.5 seed 0: accuracy (%) 100, from the store",
    ]


def test_many_fast_stages_have_one_line_every_five_seconds(record, clock) -> None:
    console = plain()
    with progress_on(console, False, clock) as watcher:
        watcher.begin(1)
        watcher.cell(1, "t/a lth 0.5 seed 0")
        for _ in range(20):
            work(watcher, clock, steps=2, seconds=1.0)
    assert len(lines(console)) == 4


def test_the_rate_of_a_resumed_stage_counts_only_its_new_steps(clock) -> None:
    console = plain()
    with progress_on(console, False, clock) as watcher:
        watcher.begin(1)
        watcher.cell(1, "t/a dense 0 seed 0")
        watcher.note("resumed at step 900 of 1000")
        watcher.stage("train 1000 steps", 1000, 900)
        clock.now += 10
        watcher.step(950, 1.5)
    assert lines(console) == [
        "0:00:00 resumed at step 900 of 1000",
        "0:00:10 1/1 t/a dense 0 seed 0: train 1000 steps, 950/1000, loss 1.5, 5 steps/s, 0:00:10 left",
    ]


def test_a_stage_without_steps_shows_its_time(clock) -> None:
    console = plain()
    with progress_on(console, False, clock) as watcher:
        watcher.begin(1)
        watcher.cell(1, "t/a dense 0 seed 0")
        clock.now += 3661
        watcher.stage("predict 384 examples", 1, 0)
    assert lines(console) == ["1:01:01 1/1 t/a dense 0 seed 0: predict 384 examples, 0:00:00"]


def test_failures_and_failed_certificates_are_printed(record, clock) -> None:
    console = plain()
    with progress_on(console, False, clock) as watcher:
        watcher.begin(3)
        watcher.cell(1, "a")
        watcher.result(record(value=None, reason="out of memory\nmore"))
        watcher.cell(2, "b")
        watcher.stage("predict 3 examples", 1, 0)
        watcher.result(record(value=80.0, ok=False))
        watcher.cell(3, "c")
        watcher.result(record(value=None, status="skipped", reason=""))
    assert lines(console) == [
        "0:00:00 1/3 a: failed: out of memory",
        "0:00:00 2/3 b: accuracy (%) 80 in 0:00:00, but its certificate failed",
        "0:00:00 3/3 c: skipped",
    ]


@pytest.mark.parametrize("console", [plain(), terminal()], ids=["pipe", "terminal"])
def test_quiet_prints_only_warnings(record, clock, console) -> None:
    with progress_on(console, True, clock) as watcher:
        watcher.begin(1)
        watcher.cell(1, "t/a dense 0 seed 0")
        work(watcher, clock)
        watcher.note("resumed at step 5 of 10")
        assert isinstance(watcher, WarningsOnly)
        watcher.note("the stored net is broken", warning=True)
        watcher.result(record("dense"))
    assert lines(console) == ["warning: the stored net is broken"]


def test_a_line_in_a_file_is_not_wrapped_and_is_no_markup(clock) -> None:
    console = plain()
    with progress_on(console, False, clock) as watcher:
        watcher.note("wants [0, 1) [bold] " + "x" * 300)
    assert lines(console) == ["0:00:00 wants [0, 1) [bold] " + "x" * 300]


CHAINS = (
    chain_of(Dense(), Target()),
    *(chain_of(MagnitudeAfter(), Target(sparsity=s)) for s in (0.5, 0.8, 0.9)),
)
"""Four cells of 12 shared steps, three of them with 12 more of their own."""


def costing(made: Record, number: int, train: float, steps: int) -> Record:
    """A record of the cell with this number, whose training took so many seconds and steps."""
    assert made.cost is not None
    seconds = replace(made.cost.seconds, train=train)
    return replace(
        made,
        digest=CHAINS[number - 1].digest,
        task="toy",
        model="tiny",
        cost=replace(made.cost, steps=steps, seconds=seconds),
    )


def test_a_terminal_shows_the_cell_the_stage_and_the_time_left_for_the_grid(record, clock) -> None:
    stored = costing(record("omp-after"), 2, 24.0, 24)
    forecast = Forecast(CHAINS, lambda _: False, [stored])
    screen = LiveProgress(terminal(140), clock, forecast=forecast)
    screen.begin(4)
    screen.cell(2, "t/a omp-after 0.5 seed 0")
    screen.result(stored)
    screen.cell(1, "t/a dense 0 seed 0")
    # the record of the store has steps of 1 s: 12 of the dense net, 12 of each of two others
    assert drawn(screen) == ["1/4 cells, 0:00:00 elapsed, about 0:00:36 left", "1/4 t/a dense 0 seed 0"]
    work(screen, clock, steps=12, seconds=60)
    clock.now += 3
    screen.result(costing(record("dense"), 1, 60.0, 12))
    screen.cell(3, "t/a omp-after 0.8 seed 0")
    screen.stage("train 12 steps", 12, 0)
    clock.now += 15
    screen.step(3, 1.5)
    # a step takes 5 s here, and a cell 3 s more: 9 steps of this cell, 12 of the last, twice 3 s
    assert drawn(screen) == [
        "2/4 cells, 0:01:18 elapsed, about 0:01:51 left",
        "3/4 t/a omp-after 0.8 seed 0: train 12 steps, 3/12, loss 1.5, 0.2 steps/s, 0:00:45 left",
    ]


def test_the_lines_of_a_log_end_with_the_time_left_for_the_grid(record, clock) -> None:
    console = plain()
    with progress_on(console, False, clock, Forecast(CHAINS, lambda _: False)) as watcher:
        watcher.begin(4)
        watcher.cell(1, "t/a dense 0 seed 0")
        work(watcher, clock, steps=12, seconds=12)
        watcher.result(costing(record("dense", value=81.25), 1, 12.0, 12))
    start = "1/4 t/a dense 0 seed 0: "
    assert lines(console) == [
        # 7 steps of this cell and 12 of each of three others, 1 s a step
        f"0:00:05 {start}train 12 steps, 5/12, loss 0.4, 1 steps/s, 0:00:07 left; grid: about 0:00:43 left",
        f"0:00:10 {start}train 12 steps, 10/12, loss 0.2, 1 steps/s, 0:00:02 left; grid: about 0:00:38 left",
        f"0:00:12 {start}accuracy (%) 81.25 in 0:00:12; grid: about 0:00:36 left",
    ]


def test_several_lanes_share_the_time_left_and_starting_a_process_is_no_part_of_a_cell(record, clock) -> None:
    console = plain()
    with progress_on(console, False, clock, Forecast(CHAINS, lambda _: False)) as watcher:
        watcher.begin(4)
        first, second = watcher.lane(0), watcher.lane(1)
        first.cell(1, "t/a dense 0 seed 0")
        clock.now += 100  # torch is imported
        work(first, clock, steps=12, seconds=12)
        first.result(costing(record("dense"), 1, 12.0, 12))
        second.cell(2, "t/a omp-after 0.5 seed 0")
        first.cell(3, "t/a omp-after 0.8 seed 0")
        second.stage("train 12 steps", 12, 0)
        clock.now += 6
        second.step(6, 1.0)
    # 6 steps of the second cell; the third has waited 6 s of its 12; 12 of the fourth: 24 s for two lanes
    assert lines(console)[-1].endswith("1 steps/s, 0:00:06 left; grid: about 0:00:12 left")


@pytest.mark.parametrize("width", [1, 10, 20, 40])
def test_lines_are_cut_on_a_small_terminal(clock, width) -> None:
    screen = LiveProgress(terminal(width), clock)
    screen.begin(4)
    screen.cell(1, "a label that is far too long for it")
    screen.stage("train 100 steps", 100, 0)
    with screen.console.capture() as capture:
        screen.console.print(screen.bars.get_renderable())
    assert max(map(len, capture.get().splitlines())) <= width


def test_on_a_terminal_notes_and_scores_stay_and_stored_cells_are_only_counted(record, clock) -> None:
    console = terminal()
    with progress_on(console, False, clock) as watcher:
        assert isinstance(watcher, LiveProgress)
        watcher.begin(3)
        watcher.cell(1, "t/a dense 0 seed 0")
        watcher.result(record("dense"))
        watcher.cell(2, "t/a lth 0.5 seed 0")
        watcher.note("resumed at step 5 of 10")
        work(watcher, clock, seconds=1)
        watcher.result(record("lth", value=75.5))
        watcher.cell(3, "t/a lth 0.8 seed 0")
        watcher.result(record("lth", value=None, reason="disk full"))
    text = "\n".join(lines(console))
    assert "0:00:00 resumed at step 5 of 10\n" in text
    assert "0:00:01 2/3 t/a lth 0.5 seed 0: accuracy (%) 75.5 in 0:00:01\n" in text
    assert "0:00:01 3/3 t/a lth 0.8 seed 0: failed: disk full\n" in text
    assert "accuracy (%) 80" not in text
    assert "\x1b[?25h" in text.rpartition("\x1b[?25l")[2]  # the cursor is back


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_closed_console_does_not_stop_a_run(record, clock, is_terminal) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=80)
    with progress_on(console, False, clock) as watcher:
        watcher.begin(1)
        watcher.cell(1, "t/a dense 0 seed 0")
        file.close()
        work(watcher, clock)
        watcher.note("still here")
        watcher.result(record("dense"))
    assert console.file is file


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")]
)
def test_a_console_that_cannot_be_written_does_not_stop_a_run(record, clock, fault) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise fault

        def flush(self) -> None:
            raise fault

    with progress_on(Console(file=Broken(), force_terminal=False), False, clock) as watcher:
        watcher.begin(1)
        watcher.cell(1, "t/a dense 0 seed 0")
        work(watcher, clock)
        watcher.result(record("dense"))


def test_a_loss_of_zero_is_shown_and_a_stage_without_a_loss_shows_none(clock) -> None:
    state = LineProgress(plain(), clock)
    state.stage("train 4 steps", 4, 0)
    assert state.stage_progress() == "train 4 steps, 0/4"
    state.step(1, 0.0)
    assert state.stage_progress() == "train 4 steps, 1/4, loss 0"
    state.stage("prune to 2:4", 4, 0)
    state.step(1, None)
    assert state.stage_progress() == "prune to 2:4, 1/4"


@pytest.mark.parametrize(("word", "label"), [("2:4", "prune to 2:4"), ("0.5", "prune to 0.5")])
def test_a_pruning_is_named_by_the_target_of_the_user(tmp_path: Path, word: str, label: str) -> None:
    labels: list[str] = []

    class Labels(Silent):
        def stage(self, label: str, steps: int, done: int) -> None:
            labels.append(label)

    run_chain(chain_of(MagnitudeBefore(), Target.parse(word)), tmp_path, Labels())
    assert labels[0] == label


def test_characters_that_a_console_lacks_become_question_marks(clock) -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii"), force_terminal=False)
    with progress_on(console, False, clock) as watcher:
        watcher.note("naïve")
        watcher.note("after")
    assert raw.getvalue().decode("ascii") == "0:00:00 na?ve\n0:00:00 after\n"


def test_an_error_of_the_run_passes_and_the_console_is_restored(clock) -> None:
    console = terminal()
    file = console.file
    with pytest.raises(KeyboardInterrupt), progress_on(console, False, clock):
        raise KeyboardInterrupt
    assert console.file is file
    with progress_on(console, False, clock):  # and can be live again
        pass


@pytest.mark.parametrize("console", [plain(), terminal()], ids=["pipe", "terminal"])
def test_a_step_takes_almost_no_time(console) -> None:
    with progress_on(console, False) as watcher:
        watcher.begin(1)
        watcher.cell(1, "t/a dense 0 seed 0")
        watcher.stage("train", 10_000, 0)
        began = time.thread_time()
        for step in range(10_000):
            watcher.step(step, 1.0)
        spent = time.thread_time() - began
    assert spent / 10_000 < 0.01 / 200  # one per cent of a loop that makes 200 steps a second


def test_parallel_cells_have_their_own_lines_and_one_count(record, clock) -> None:
    console = plain()
    with progress_on(console, False, clock) as watcher:
        watcher.begin(3)
        first, second = watcher.lane(0), watcher.lane(1)
        first.cell(3, "t/a lth 0.5 seed 0")
        second.cell(1, "t/a dense 0 seed 0")
        work(second, clock, steps=10, seconds=4)
        first.note("resumed at step 5 of 10")
        second.result(record("dense"))
        second.cell(2, "t/a lth 0.8 seed 0")
        second.result(record("lth", value=75.5))
    assert lines(console) == [
        "0:00:04 3/3 t/a lth 0.5 seed 0: resumed at step 5 of 10",
        "0:00:04 1/3 t/a dense 0 seed 0: accuracy (%) 80 in 0:00:04",
        "0:00:04 2/3 t/a lth 0.8 seed 0: accuracy (%) 75.5, from the store",
    ]


def test_a_terminal_has_a_row_for_each_parallel_cell_and_one_for_all(record, clock) -> None:
    screen = LiveProgress(terminal(140), clock)
    screen.begin(4)
    first, second = screen.lane(0), screen.lane(1)
    first.cell(4, "t/a lth 0.5 seed 0")
    second.cell(1, "t/a dense 0 seed 0")
    work(second, clock, seconds=60)
    second.result(record("dense"))
    second.cell(2, "t/a lth 0.8 seed 0")
    first.stage("train 100 steps", 100, 0)
    clock.now += 15
    first.step(25, 1.5)
    # without a forecast there is no time left for the grid
    assert drawn(screen) == [
        "1/4 cells, 0:01:15 elapsed",
        "4/4 t/a lth 0.5 seed 0: train 100 steps, 25/100, loss 1.5, 1.67 steps/s, 0:00:45 left",
        "2/4 t/a lth 0.8 seed 0",
    ]
