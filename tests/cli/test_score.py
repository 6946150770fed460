"""The verb score: stored predictions are scored again, and nothing else changes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from smc_eval import registry
from smc_eval.experiment.data_facts import Repeats
from smc_eval.score import Items, accuracy
from smc_eval.store.predictions import Predictions

TEXT = "a b c d"
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()
RIGHT = Items("mean", ((100.0,), (100.0,), (0.0,), (0.0,)))


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A data folder."""
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "lines.txt").write_text(TEXT)
    return folder


def data(folder: Path) -> dict[str, Any]:
    """The data of a record; both parts of the toy task are the same four lines."""
    return {"source": str(folder), "digest": DIGEST, "repeats": {"in_train": 4, "in_test": 0}}


def test_a_wrong_score_is_corrected_and_the_record_names_the_release(invoke, stores, record, there) -> None:
    old = record(task="lines/a", fold=1, value=75.0, data=data(there))
    stores.add("runs", old, ["a", "b", "x", "x"])
    ended = invoke("score", "runs")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.splitlines() == [
        "lines/a fold 1 omp-after 0.5 seed 0: 75 → 50",
        "scored 1 again: 1 changed, 0 as before; items of 1 were written",
    ]
    (new,) = stores.latest("runs")
    assert new.score.value == 50.0 and new.digest == old.digest and new.cost == old.cost
    assert new.versions["smc-eval"] == "0" and new.versions["score"].startswith("smc-eval ")
    predictions = Predictions(Path("runs"))
    assert predictions.items(old.digest) == RIGHT and predictions.predicted(old.digest) == [
        "a",
        "b",
        "x",
        "x",
    ]


def test_an_equal_score_is_not_written_again(invoke, stores, record, there) -> None:
    stores.add(
        "runs", record(task="lines/a", fold=0, value=50.0, data=data(there)), ["a", "b", "x", "x"], RIGHT
    )
    before = Path("runs/results.jsonl").read_bytes()
    assert invoke("score", "runs").stdout == "scored 1 again: 0 changed, 1 as before\n"
    assert Path("runs/results.jsonl").read_bytes() == before


def test_a_record_of_an_older_release_gets_the_count_of_repeated_examples(
    invoke, stores, record, there
) -> None:
    old = {**data(there), "repeats": None}
    stores.add("runs", record(task="lines/a", fold=0, value=50.0, data=old), ["a", "b", "x", "x"], RIGHT)
    assert "repeats in_train none → 4; repeats in_test none → 0" in invoke("score", "runs").stdout
    assert stores.latest("runs")[0].data.repeats == Repeats(in_train=4, in_test=0)


def test_a_dry_run_prints_the_change_and_writes_nothing(invoke, stores, record, there) -> None:
    old = stores.add(
        "runs", record(task="lines/a", fold=0, value=75.0, data=data(there)), ["a", "b", "x", "x"]
    )
    ended = invoke("score", "runs", "--dry-run")
    assert "75 → 50" in ended.stdout and "nothing was written, this was a dry run" in ended.stdout
    assert stores.latest("runs") == [old]
    assert Predictions(Path("runs")).items(old.digest) is None


def test_a_new_metric_is_printed_with_its_name(invoke, stores, record, there, monkeypatch) -> None:
    def score(self, predicted, examples):
        right = [a == b for a, b in zip(predicted, examples, strict=True)]
        return accuracy(right, "accuracy (%)", "letters, new", vowels=right[:1])

    monkeypatch.setattr(registry.load_registry().tasks["lines/a"], "score", score)
    stores.add(
        "runs", record(task="lines/a", fold=0, value=50.0, data=data(there)), ["a", "b", "x", "x"], RIGHT
    )
    message = invoke("score", "runs").stdout.splitlines()[0]
    assert message.endswith(
        "seed 0: signature letters → letters, new; also vowels none → 100; also_n vowels none → 1"
    )


def test_the_options_of_the_task_are_those_of_the_record(invoke, stores, record, there) -> None:
    old = record(task='lines/a:case=["a"]', fold=0, value=50.0, data=data(there))
    stores.add("runs", old, ["a", "b", "x", "x"])
    assert "50 → 25" in invoke("score", "runs").stdout


def test_moved_data_is_found_in_the_given_folder(invoke, stores, record, there) -> None:
    stores.add("runs", record(task="lines/a", fold=0, value=75.0, data=data(there)), ["a", "b", "x", "x"])
    there.rename("elsewhere")
    ended = invoke("score", "runs")
    assert ended.exit_code == 1
    assert "not scored: lines/a fold 0 omp-after 0.5 seed 0: there is no " in ended.stderr
    assert "75 → 50" in invoke("score", "runs", "--data-dir", "elsewhere").stdout
    assert stores.latest("runs")[0].data.source == str(there)


@pytest.mark.parametrize(
    ("changes", "predicted", "message"),
    [
        ({}, ["a", "b"], "2 predictions are stored for 4 examples"),
        ({"task": "nobody/b"}, ["a"] * 4, "no task or group is named 'nobody/b'"),
        ({"task": "lines/a:colour=red"}, ["a"] * 4, "no option of task 'lines/a' is named 'colour'"),
        ({}, [], "its predictions are missing or broken in "),
        ({}, [1, {}, None, "d"], None),
    ],
)
def test_a_record_that_cannot_be_scored_is_named_and_stays(
    invoke, stores, record, there, changes, predicted, message
) -> None:
    stores.add("runs", record(**{"task": "lines/a", "data": data(there), "fold": 0, **changes}), predicted)
    before = stores.latest("runs")
    ended = invoke("score", "runs")
    if message is None:
        assert "80 → 25" in ended.stdout
        return
    assert ended.exit_code == 1 and message in ended.stderr and "Traceback" not in ended.stderr
    assert stores.latest("runs") == before


def test_a_record_stays_if_its_data_has_changed(invoke, stores, record, there) -> None:
    stores.add("runs", record(task="lines/a", fold=0, data=data(there)), ["a", "b", "x", "x"])
    (there / "lines.txt").write_text("a b c e")
    ended = invoke("score", "runs")
    assert ended.exit_code == 1
    assert (
        "differs from the data of the predictions: its digest is " in ended.stderr
        and DIGEST[:12] in ended.stderr
    )


def test_a_reason_is_printed_once_and_other_records_are_scored(invoke, stores, record, there) -> None:
    for seed in range(3):
        stores.add("runs", record(task="gone/b", seed=seed), ["a"])
    stores.add(
        "runs", record(task="lines/a", fold=0, value=50.0, data=data(there)), ["a", "b", "x", "x"], RIGHT
    )
    ended = invoke("score", "runs")
    assert ended.exit_code == 0
    assert "not scored: gone/b omp-after 0.5 seed 0 and 2 more: no task" in ended.stderr
    assert "scored 1 again" in ended.stdout


def test_the_error_of_a_plugin_has_its_name(invoke, stores, record, there, monkeypatch) -> None:
    monkeypatch.setattr(registry.load_registry().tasks["lines/a"], "score", lambda *_: 1 / 0)
    stores.add("runs", record(task="lines/a", fold=0, data=data(there)), ["a", "b", "x", "x"])
    ended = invoke("score", "runs")
    assert ended.exit_code == 1
    assert ":Lines failed: ZeroDivisionError: division by zero (test_score.py:" in ended.stderr


def test_the_records_of_a_run_get_the_same_scores_again(invoke) -> None:
    run = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5", "--quiet")
    assert invoke(*run, "--output", "runs").exit_code == 0
    ended = invoke("score", "runs")
    assert (ended.exit_code, ended.stdout) == (0, "scored 2 again: 0 changed, 2 as before\n")


def test_a_folder_without_records_is_refused(invoke) -> None:
    ended = invoke("score", "nowhere")
    assert ended.exit_code == 2 and "'nowhere' holds no results.jsonl" in ended.stderr
