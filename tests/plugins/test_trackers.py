"""A tracker of a stranger's package, through the program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import smc_eval_lines
from smc_eval_lines import Lines

from smc_eval import TrackedCell
from smc_eval.testing import TrackerContract
from smc_eval.testing.tracker_contract import Logged

Invoke = Callable[..., Any]
RUN = ("--model", "tiny", "--tasks", "next-letter", "--method", "omp-after", "--sparsity", "0.5", "--quiet")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class TestLines(TrackerContract):
    tracker = Lines()

    def logged(self, cell: TrackedCell) -> Logged:
        (path,) = cell.store.glob(f"lines/{cell.group}/{cell.id}.jsonl")
        found: dict[str, dict[int, float]] = {}
        for line in lines_of(path):
            for name in line.keys() - {"step", "status", "reason"} if "step" in line else ():
                found.setdefault(name, {})[line["step"]] = line[name]
        return {name: sorted(values.items()) for name, values in found.items()}


def files(store: Path) -> list[Path]:
    return sorted(store.glob("lines/*/*.jsonl"))


def test_a_run_with_a_tracker_has_the_same_records_and_shows_every_cell(
    invoke: Invoke, tmp_path: Path
) -> None:
    flags = (*RUN, "--recipe", "steps=3,warmup=2,lr=0.5", "--json", "-")
    plain = json.loads(invoke(*flags, "--output", "plain").stdout)
    ran = invoke(*flags, "--output", "tracked", "--track", "lines")
    assert ran.exit_code == 0, ran.output
    records = json.loads(ran.stdout)["results"] if isinstance(json.loads(ran.stdout), dict) else None
    assert records is not None and len(records) == 2
    assert [r["digest"] for r in records] == [r["digest"] for r in plain["results"]]
    assert [r["score"] for r in records] == [r["score"] for r in plain["results"]]
    (group,) = (tmp_path / "tracked" / "lines").iterdir()
    assert group.name.startswith("tracked-")
    for record in records:
        asked, *steps, end = lines_of(group / f"{record['digest']}.jsonl")
        assert asked["method"] == record["method"] and asked["recipe.lr"] == 0.5
        assert end["status"] == "ok" and end["score"] == record["score"]["value"]
        assert end["sparsity"] == record["certificate"]["reached"] and end["certificate"] == 1
        assert end["step"] == record["cost"]["steps"]
        numbers = [line["step"] for line in steps]
        assert numbers == sorted(set(numbers)) and 0 < len(numbers) <= 3 * len(record)
    dense, pruned = (lines_of(group / f"{record['digest']}.jsonl") for record in records)
    first, last = dense[1], dense[-2]
    assert (first["step"], first["learning_rate"]) == (1, 0.25)  # half of the warm-up
    assert last["step"] == 3 and {line["sparsity"] for line in dense[1:-1]} == {0}
    # the chain of the pruned cell loads the dense net: steps 4 to 6, at the sparsity of the certificate
    assert {line["step"] for line in pruned[1:-1]} <= {4, 5, 6} and pruned[-2]["step"] == 6
    assert {line["sparsity"] for line in pruned[1:-1]} == {pruned[-1]["sparsity"]}


def test_finished_cells_are_shown_once(invoke: Invoke, tmp_path: Path) -> None:
    flags = (*RUN, "--recipe", "steps=2")
    assert invoke(*flags).exit_code == 0
    store = tmp_path / "smc-eval-runs"
    for _ in range(2):
        assert invoke(*flags, "--track", "lines").exit_code == 0
        assert [len(lines_of(path)) for path in files(store)] == [2, 2]  # what was asked, and how it ended
    assert [lines_of(path)[-1]["certificate"] for path in files(store)] == [1, 1]


def test_a_tracker_that_fails_costs_one_warning_and_no_cell(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        sys.stdout.write("the tracker prints")
        raise SystemExit("no disk\nat all")

    monkeypatch.setattr(smc_eval_lines.LinesRun, "log", fail)
    ran = invoke(*RUN, "--recipe", "steps=2", "--track", "lines", "--json", "-")
    assert ran.exit_code == 0 and len(json.loads(ran.stdout)["results"]) == 2
    assert ran.stderr == (
        "warning: tracker lines failed, and shows nothing more in this run: SystemExit: no disk\n"
    )
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("line", "no tracker is named 'line'; did you mean 'lines'?"),
        ("lines:foldr=x", "no option of tracker 'lines' is named 'foldr'; did you mean 'folder'?"),
        ("lines:folder", "option 'folder' of tracker 'lines' has no value"),
        ("wandb:mode=maybe", "option 'mode' of tracker 'wandb' is 'maybe'"),
    ],
)
def test_a_wrong_tracker_is_refused_before_anything_runs(
    invoke: Invoke, tmp_path: Path, words: str, fault: str
) -> None:
    for verb in ("run", "work"):
        refused = invoke(verb, *RUN, "--track", words)
        assert refused.exit_code == 2 and fault in refused.stderr, refused.stderr
        assert len(refused.stderr.splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_whose_package_is_missing_is_refused_with_what_to_install(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("smc_eval.trackers.tracker.find_spec", lambda _: None)
    refused = invoke(*RUN, "--track", "lines,tensorboard")
    assert refused.exit_code == 2 and list(tmp_path.iterdir()) == []
    assert (
        refused.stderr == "error: --track tensorboard needs tensorboard: pip install 'smc-eval[trackers]'\n"
    )


def test_trackers_are_listed_and_shown(invoke: Invoke) -> None:
    rows = json.loads(invoke("list", "trackers", "--json").stdout)["trackers"]
    assert [row["name"] for row in rows] == ["tensorboard", "mlflow", "wandb", "trackio", "lines"]
    assert rows[-1]["package"] == "smc-eval-lines"
    shown = " ".join(invoke("show", "lines").stdout.split())
    assert "lines (tracker): a file of JSON lines for each cell" in shown
    assert "folder text = lines Folder inside the store." in shown
    assert "4 trackers" in invoke("list", "plugins").stdout
