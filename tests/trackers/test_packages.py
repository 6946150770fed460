"""The built-in trackers with their real packages, offline, read back from files: tox -e trackers."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from smc_eval import TrackedCell
from smc_eval.testing import TrackerContract
from smc_eval.testing.tracker_contract import Logged
from smc_eval.trackers.mlflow import CELL_TAG, MLflow
from smc_eval.trackers.tensorboard import TensorBoard
from smc_eval.trackers.tracker import is_installed
from smc_eval.trackers.trackio import Trackio
from smc_eval.trackers.wandb import ID_DIGITS, WeightsAndBiases

pytestmark = [
    pytest.mark.slow,  # each of these packages takes seconds to import
    pytest.mark.filterwarnings("default"),  # their own
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not all(map(is_installed, ("mlflow", "sqlalchemy", "tensorboard", "trackio", "wandb"))),
        reason="the packages of trackers are not installed",
    ),
]
QUIET = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
"""No package may speak to its makers here."""
KEYS = ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY", "TRACKIO_SPACE_ID", "HF_TOKEN")

Steps = dict[str, dict[int, float]]


@pytest.fixture(scope="session")
def trackio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trackio reads the name of its folder once, when it is imported."""
    return tmp_path_factory.mktemp("trackio")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trackio_folder: Path) -> None:
    monkeypatch.delenv("WANDB_SERVICE", raising=False)  # a process that is killed has one of its own
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("TRACKIO_DIR", str(trackio_folder))


def in_order(found: Steps) -> Logged:
    return {name: sorted(values.items()) for name, values in found.items()}


def scalars(folder: Path) -> Steps:
    """The values of event files, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def mlflow_runs(database: Path) -> dict[str, dict[str, Any]]:
    """The runs of a database by the digest of their cell, each with its metrics and its status."""
    with sqlite3.connect(database) as rows:
        runs = dict[str, dict[str, Any]]()
        cells = rows.execute("select run_uuid, value from tags where key = ?", (CELL_TAG,)).fetchall()
        assert len({cell for _, cell in cells}) == len(cells), "a cell has two runs"
        for run, cell in cells:
            metrics: Steps = {}
            for name, step, value in rows.execute(
                "select key, step, value from metrics where run_uuid = ?", (run,)
            ):
                metrics.setdefault(name, {})[step] = value
            (status,) = rows.execute("select status from runs where run_uuid = ?", (run,)).fetchone()
            params = dict(rows.execute("select key, value from params where run_uuid = ?", (run,)).fetchall())
            runs[cell] = {"metrics": metrics, "status": status, "params": params}
    return runs


def records_of(path: Path) -> Iterator[Any]:
    """The records of a file of wandb: a log in the form of LevelDB, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, block, whole = path.read_bytes(), 7, 32768, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in {1, 4}:  # the record is whole, or this is its last part
            yield Record.FromString(whole)
            whole = b""


def wandb_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """The runs of wandb's offline folders by id. A run that continued has several folders."""
    runs = dict[str, dict[str, Any]]()
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        run: dict[str, Any] = {"metrics": {}}
        for record in records_of(path):
            match record.WhichOneof("record_type"):
                case "run":
                    run |= {"group": record.run.run_group, "name": record.run.display_name}
                    name = record.run.run_id
                    run["config"] = {i.key: json.loads(i.value_json) for i in record.run.config.update}
                    runs.setdefault(name, run)
                    run = runs[name]
                case "history":
                    row = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
                    for name, value in row.items():
                        if name != "step" and not name.startswith("_"):
                            run["metrics"].setdefault(name, {})[row["step"]] = value
                case "exit":
                    run["exit"] = record.exit.exit_code
    return runs


def trackio_runs(folder: Path, project: str) -> dict[str, Steps]:
    """The metrics of a project of Trackio by the name of the run."""
    runs = dict[str, Steps]()
    with sqlite3.connect(folder / f"{project}.db") as rows:
        names = rows.execute("select distinct run_id, run_name from metrics").fetchall()
        assert len({name for _, name in names}) == len(names), "a cell has two runs"
        for name, step, metrics in rows.execute("select run_name, step, metrics from metrics"):
            for metric, value in json.loads(metrics).items():
                runs.setdefault(name, {}).setdefault(metric, {})[step] = value
    return runs


class TestTensorBoard(TrackerContract):
    tracker = TensorBoard()

    def logged(self, cell: TrackedCell) -> Logged:
        return in_order(scalars(cell.store / "tensorboard" / cell.group / cell.file_name))


class TestMLflow(TrackerContract):
    tracker = MLflow()

    def logged(self, cell: TrackedCell) -> Logged:
        return in_order(mlflow_runs(cell.store / "mlflow.db")[cell.id]["metrics"])


class TestWeightsAndBiases(TrackerContract):
    tracker = WeightsAndBiases()  # offline, because there is no key

    def logged(self, cell: TrackedCell) -> Logged:
        for _ in range(200):  # a process of wandb writes the file, some time after `finish`
            *_, newest = sorted(cell.store.glob(f"wandb/*/run-{cell.id[:ID_DIGITS]}.wandb"))
            if any(record.WhichOneof("record_type") == "exit" for record in records_of(newest)):
                break
            time.sleep(0.1)
        return in_order(wandb_runs(cell.store)[cell.id[:ID_DIGITS]]["metrics"])


class TestTrackio(TrackerContract):
    tracker = Trackio()

    @pytest.fixture(autouse=True)
    def _own_project(self, trackio_folder: Path) -> None:
        self.tracker, self.folder = Trackio(project=f"test-{uuid4().hex[:8]}"), trackio_folder

    def logged(self, cell: TrackedCell) -> Logged:
        return in_order(trackio_runs(self.folder, self.tracker.project)[cell.name])


DRIVER = """
import os, signal, sys, time
from pathlib import Path
from smc_eval.engine import pace, tracker_thread
from smc_eval.engine.progress import Silent
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.methods.dense import Dense
from smc_eval.methods import smc_eval_trackers
from smc_eval.target import Target
from smc_eval.testing import chain_of

seen, log = set(), tracker_thread.TrackerThread._log

def counted(self, cell, step, values, *, last):
    log(self, cell, step, values, last=last)
    seen.add(self.tracker.card.name)

class Killed(Silent):
    def step(self, done, loss):
        print("step", done, repr(loss), flush=True)
        while sys.argv[1] == "kill" and done == 5 and len(seen) < 4:
            time.sleep(0.1)
        if sys.argv[1] == "kill" and done == 6:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, text, *, warning=False):
        print(text, flush=True)

tracker_thread.TrackerThread._log = counted
pace.Pace.due = property(lambda self: True)
trackers = tuple(tracker() for tracker in smc_eval_trackers())
options = RunOptions(Path("store"), device="cpu", threads=1, checkpoint_seconds=0.0, watcher=Killed(),
                     trackers=trackers, group="grid")
(record,) = run_cells([chain_of(Dense(), Target())], options)
print("digest", record.digest, record.score.value)
"""


def test_a_run_that_kill_9_ended_is_continued_by_each_tracker(tmp_path: Path) -> None:
    env = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "OMP_NUM_THREADS": "1"}
    printed = []
    for how in ("kill", "end"):
        command = [sys.executable, "-c", DRIVER, how]
        ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert ran.returncode == (-9 if how == "kill" else 0), ran.stdout + ran.stderr
        assert "tracker" not in ran.stdout, ran.stdout
        printed += [line.split() for line in ran.stdout.splitlines()]
    losses = {int(words[1]): float(words[2]) for words in printed if words[0] == "step"}
    ((_, digest, score),) = (words for words in printed if words[0] == "digest")
    assert list(losses) == list(range(1, 13))

    store = tmp_path / "store"
    (folder,) = (store / "tensorboard" / "grid").iterdir()
    (name,) = trackio_runs(tmp_path / "trackio", "smc-eval")
    runs = {
        "tensorboard": scalars(folder),
        "mlflow": mlflow_runs(store / "mlflow.db")[digest]["metrics"],
        "wandb": wandb_runs(store)[digest[:ID_DIGITS]]["metrics"],
        "trackio": trackio_runs(tmp_path / "trackio", "smc-eval")[name],
    }
    assert len(wandb_runs(store)) == len(mlflow_runs(store / "mlflow.db")) == 1
    for tracker, found in runs.items():
        assert found["score"] == {12: pytest.approx(float(score))}, tracker
        assert found["certificate"] == {12: 1.0} and set(found["sparsity"].values()) == {0.0}, tracker
        # what a package had not written when it was killed is lost; all from the checkpoint on is there
        assert set(range(6, 13)) <= found["loss"].keys() <= losses.keys(), tracker
        assert found["loss"] == pytest.approx({step: losses[step] for step in found["loss"]}, rel=1e-6), (
            tracker
        )
        assert {round(rate, 6) for rate in found["learning_rate"].values()} == {0.01}, tracker


def test_the_program_shows_its_workers_cells_in_all_trackers(tmp_path: Path) -> None:
    env = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "OMP_NUM_THREADS": "1"}
    command = [
        *(sys.executable, "-m", "smc_eval", "--model", "tiny", "--tasks", "csqa", "--method", "omp-after"),
        *("--sparsity", "0.5", "--recipe", "steps=3", "--json", "-", "--quiet"),
        *("--track", "tensorboard,mlflow,wandb:mode=offline,trackio"),
    ]
    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    records, store = json.loads(ran.stdout)["results"], tmp_path / "smc-eval-runs"
    assert len(records) == 2
    (grid,) = (store / "tensorboard").iterdir()
    folders = {path.name.rpartition("_")[2]: path for path in grid.iterdir()}
    mlflow, wandb = mlflow_runs(store / "mlflow.db"), wandb_runs(store)
    trackio = trackio_runs(tmp_path / "trackio", "smc-eval")
    trained = []
    assert len(folders) == len(mlflow) == len(wandb) == len(trackio) == 2
    for record in records:
        digest, steps = record["digest"], record["cost"]["steps"]
        (name,) = (name for name in trackio if name.endswith(digest[:8]))
        own = wandb[digest[:ID_DIGITS]]
        assert own["group"] == grid.name and own["exit"] == 0 and own["name"] == name
        assert own["config"]["method"] == record["method"]
        assert mlflow[digest]["status"] == "FINISHED"
        assert mlflow[digest]["params"]["method"] == record["method"]
        for found in (scalars(folders[digest[:8]]), mlflow[digest]["metrics"], own["metrics"], trackio[name]):
            assert found["score"] == {steps: pytest.approx(record["score"]["value"])}
            assert found["sparsity"][steps] == pytest.approx(record["certificate"]["reached"])
            assert found["certificate"] == {steps: 1.0}
            trained.append((steps, found.get("loss", {}).keys()))
    # the last step of each training, by the cell that computed it: the cells share the first one
    for steps, logged in trained:
        assert steps in logged or steps == 3
        assert logged <= set(range(1, steps + 1))
    assert sum(3 in logged for _, logged in trained) == 4
