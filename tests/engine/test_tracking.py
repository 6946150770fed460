"""Trackers: what they see of a run, and that they neither harm it nor hold it up."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from smc_eval.engine import tracking
from smc_eval.engine.executors.jobs import Progress
from smc_eval.engine.executors.worker import ProgressSender
from smc_eval.engine.pace import Pace
from smc_eval.engine.progress import Silent, StepValues
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.experiment.cell import Chain
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.store.tracked_cells import TrackedCells
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, without_time
from smc_eval.trackers.tracker import Outcome, TrackedCell, TrackedRun, Tracker, TrackerCard

CALLS: list[tuple[Any, ...]] = []
HELD = threading.Event()


class Notebook(Tracker):
    """Keeps all calls."""

    card: ClassVar[TrackerCard] = TrackerCard(name="notebook", summary="calls", source="none")
    trouble: str = ""

    def begin(self, cell: TrackedCell) -> TrackedRun:
        if self.trouble == "begin":
            raise OSError("no room")
        if self.trouble == "hang":
            HELD.wait()
        CALLS.append(("begin", cell.id))
        return Page(self, cell)


class Page(TrackedRun):
    def __init__(self, tracker: Notebook, cell: TrackedCell) -> None:
        self.tracker, self.cell = tracker, cell

    def log(self, step: int, values: Mapping[str, float]) -> None:
        CALLS.append(("log", self.cell.id, step, dict(values)))

    def end(self, outcome: Outcome) -> None:
        if self.tracker.trouble == "end":
            raise RuntimeError("the server is away")
        CALLS.append(("end", self.cell.id, outcome))


class Warned(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def note(self, text: str, *, warning: bool = False) -> None:
        self.warnings += [text] * warning


@pytest.fixture(autouse=True)
def _empty() -> None:
    CALLS.clear()
    HELD.clear()


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "due", property(lambda _: True))


def run(chains: Sequence[Chain], folder: Path, watcher: Silent | None = None, **options: Any) -> list[Any]:
    trackers = options.pop("trackers", (Notebook(),))
    watching = watcher or Silent()
    return run_cells(
        chains, RunOptions(folder, device="cpu", trackers=trackers, watcher=watching, threads=1, **options)
    )


@pytest.mark.usefixtures("every_step")
def test_each_step_of_a_chain_is_logged_with_its_rate_and_sparsity(tmp_path: Path) -> None:
    chain = chain_of(MagnitudeAfter(), Target(sparsity=0.5))
    (record,) = run([chain], tmp_path)
    (_, begun), *steps, (_, ended, outcome) = CALLS
    assert begun == ended == chain.digest
    assert [step for _, _, step, _ in steps] == list(range(1, 25))
    task = Toy()
    rates = [task.recipe.lr * task.recipe.rate(step, chain.examples) for step in range(12)] * 2
    assert [values["learning_rate"] for *_, values in steps] == rates
    assert record.certificate is not None and record.score is not None
    reached = record.certificate.reached
    assert [values["sparsity"] for *_, values in steps] == [0.0] * 12 + [reached] * 12
    assert outcome.values == {"score": record.score.value, "sparsity": reached, "certificate": 1.0}
    assert outcome.step == 24 and outcome.record == record.to_json()


@pytest.mark.usefixtures("every_step")
def test_the_sparsity_of_a_step_is_that_of_its_masks(tmp_path: Path) -> None:
    run([chain_of(Gmp(), Target(sparsity=0.6))], tmp_path)
    logged = [values["sparsity"] for name, *_, values in CALLS if name == "log"]
    assert logged == sorted(logged) and len(set(logged)) > 2
    assert logged[-1] == CALLS[-1][2].values["sparsity"] == pytest.approx(0.6, abs=0.01)


def test_trackers_change_no_record(tmp_path: Path) -> None:
    chains = [chain_of(Dense(), Target()), chain_of(Gmp(), Target(sparsity=0.6))]
    tracked = run(chains, tmp_path / "tracked")
    plain = run(chains, tmp_path / "plain", trackers=())
    assert [without_time(record) for record in tracked] == [without_time(record) for record in plain]


@pytest.mark.usefixtures("every_step")
def test_an_interrupted_cell_is_stopped_and_goes_on_in_the_same_run(tmp_path: Path) -> None:
    class AtFive(Silent):
        def step(self, done: int, loss: float | None) -> None:
            if done == 5:
                raise KeyboardInterrupt

    chain = chain_of(Dense(), Target())
    with pytest.raises(KeyboardInterrupt):
        run([chain], tmp_path, AtFive(), checkpoint_seconds=0.0)
    assert CALLS[-1] == ("end", chain.digest, Outcome("stopped", 4, {}))
    assert TrackedCells(tmp_path, "notebook").read() == frozenset()
    run([chain], tmp_path)
    steps = [call[2] for call in CALLS if call[0] == "log"]
    assert steps == [1, 2, 3, 4, *range(5, 13)] and {call[1] for call in CALLS} == {chain.digest}
    assert CALLS[-1][2].status == "ok"
    assert TrackedCells(tmp_path, "notebook").read() == {chain.digest}


def test_a_cell_that_was_finished_when_the_tracker_died_is_shown_by_the_next_run(tmp_path: Path) -> None:
    chain = chain_of(Dense(), Target())
    (record,) = run([chain], tmp_path, trackers=())
    for _ in range(2):
        run([chain], tmp_path)
    assert [call[0] for call in CALLS] == ["begin", "end"]
    assert record.score is not None and CALLS[1][2].values["score"] == record.score.value
    run([chain], tmp_path, alone=False, trackers=(Notebook(trouble="none"),))
    assert len(CALLS) == 2  # of those who work on one store, the process that ran a cell shows it


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path: Path) -> None:
    cells = TrackedCells(tmp_path, "notebook:trouble=none")
    cells.add("a" * 64)
    cells.path.write_text(cells.path.read_text() + "bbbb")
    cells.add("c" * 64)
    assert cells.read() == {"a" * 64, "c" * 64}
    assert TrackedCells(tmp_path, "notebook").read() == frozenset()


@pytest.mark.parametrize("trouble", ["begin", "end"])
def test_an_error_of_a_tracker_is_one_warning_a_run(tmp_path: Path, trouble: str) -> None:
    chains = [chain_of(Dense(), Target(), seed=seed) for seed in range(3)]
    watcher = Warned()
    records = run(chains, tmp_path, watcher, trackers=(Notebook(trouble=trouble), Notebook()))
    assert all(record.sound for record in records)
    (warning,) = watcher.warnings
    assert warning.startswith(
        f"tracker notebook:trouble={trouble} failed, and shows nothing more in this run:"
    )
    assert len([call for call in CALLS if call[0] == "end"]) == 3  # of the other tracker


def test_a_tracker_that_hangs_holds_up_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 0.1)
    watcher = Warned()
    (record,) = run([chain_of(Dense(), Target())], tmp_path, watcher, trackers=(Notebook(trouble="hang"),))
    assert record.sound
    assert watcher.warnings == [
        "tracker notebook:trouble=hang has not ended after 0.1 s; its last values may be missing"
    ]
    HELD.set()


def test_a_failed_cell_ends_with_its_reason(tmp_path: Path) -> None:
    class Wild(Toy):
        def loss(self, model: Any, batch: Any) -> Any:
            raise RuntimeError("the moon is full")

    run([chain_of(Dense(), Target(), Wild())], tmp_path)
    outcome = CALLS[-1][2]
    assert outcome.status == "failed" and outcome.values == {}
    assert outcome.reason.startswith("RuntimeError: the moon is full")
    assert TrackedCells(tmp_path, "notebook").read() == frozenset()


def test_a_worker_sends_the_values_of_the_steps_that_it_reports() -> None:
    for measured in (False, True):
        sent: list[Progress] = []
        sender, clock = ProgressSender(sent.append, measured=measured), [0]

        def read(clock: list[int] = clock) -> StepValues:
            return StepValues(clock[0], 0.5, 0.25)

        sender.stage("train 9 steps", 9, 0)
        sender.measure(read)
        for step in range(1, 10):
            clock[0] = step
            sender.step(step, 1.0)
        values = [progress.args[0]() for progress in sent if progress.method == "measure"]
        assert values == ([StepValues(1, 0.5, 0.25), StepValues(9, 0.5, 0.25)] if measured else [])
        steps = [progress.args[0] for progress in sent if progress.method == "step"]
        assert steps == ([1, 9] if measured else [])


def test_what_costs_time_happens_more_rarely() -> None:
    now, spent = [0.0], [0.0]
    pace = Pace(0.25, lambda: now[0], lambda: spent[0])
    assert pace.due
    with pace.spending():
        spent[0] += 0.001
    now[0] = 0.2
    assert not pace.due
    now[0] = 0.25
    assert pace.due
    with pace.spending():
        spent[0] += 0.05
    now[0] = 10.2
    assert not pace.due
    now[0] = 10.25
    assert pace.due
