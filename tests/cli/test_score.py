"""The verb `score`: stored predictions are scored again, and nothing else is touched."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

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


def data(folder: Path) -> dict[str, str]:
    return {"source": str(folder), "digest": DIGEST}


def test_a_score_that_was_wrong_is_made_right_and_the_record_says_by_whom(say, shop, record, there) -> None:
    old = record(task="lines/a", fold=1, value=75.0, data=data(there))
    shop.keep("runs", old, ["a", "b", "x", "x"])
    ended = say("score", "runs")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.splitlines() == [
        "lines/a fold 1 omp-after 0.5 seed 0: 75 → 50",
        "scored 1 again: 1 changed, 0 as before; items of 1 were written",
    ]
    (new,) = shop.latest("runs")
    assert new.score.value == 50.0 and new.digest == old.digest and new.cost == old.cost
    assert new.versions["smc-eval"] == "0" and new.versions["score"].startswith("smc-eval ")
    predictions = Predictions(shop.folder / "runs")
    assert predictions.items(old.digest) == RIGHT and predictions.predicted(old.digest) == [
        "a",
        "b",
        "x",
        "x",
    ]


def test_a_score_that_is_the_same_is_not_written_again(say, shop, record, there) -> None:
    shop.keep(
        "runs", record(task="lines/a", fold=0, value=50.0, data=data(there)), ["a", "b", "x", "x"], RIGHT
    )
    before = (shop.folder / "runs" / "results.jsonl").read_bytes()
    assert say("score", "runs").stdout == "scored 1 again: 0 changed, 1 as before\n"
    assert (shop.folder / "runs" / "results.jsonl").read_bytes() == before


def test_a_dry_run_shows_and_writes_nothing(say, shop, record, there) -> None:
    old = shop.keep(
        "runs", record(task="lines/a", fold=0, value=75.0, data=data(there)), ["a", "b", "x", "x"]
    )
    ended = say("score", "runs", "--dry-run")
    assert "75 → 50" in ended.stdout and "nothing was written, this was a dry run" in ended.stdout
    assert shop.latest("runs") == [old]
    assert Predictions(shop.folder / "runs").items(old.digest) is None


def test_a_new_metric_is_told_by_its_name(say, shop, record, there, lines, monkeypatch) -> None:
    def score(self, predicted, examples):
        right = [a == b for a, b in zip(predicted, examples, strict=True)]
        return accuracy(right, "accuracy (%)", "letters, new", vowels=right[:1])

    monkeypatch.setattr(lines, "score", score)
    shop.keep(
        "runs", record(task="lines/a", fold=0, value=50.0, data=data(there)), ["a", "b", "x", "x"], RIGHT
    )
    told = say("score", "runs").stdout.splitlines()[0]
    assert told.endswith(
        "seed 0: signature letters → letters, new; also vowels none → 100; also_n vowels none → 1"
    )


def test_options_of_the_task_count_as_they_did(say, shop, record, there) -> None:
    old = record(task='lines/a:case=["a"]', fold=0, value=50.0, data=data(there))
    shop.keep("runs", old, ["a", "b", "x", "x"])
    assert "50 → 25" in say("score", "runs").stdout


def test_data_that_was_moved_is_found_where_one_says(say, shop, record, there) -> None:
    shop.keep("runs", record(task="lines/a", fold=0, value=75.0, data=data(there)), ["a", "b", "x", "x"])
    there.rename(shop.folder / "elsewhere")
    ended = say("score", "runs")
    assert ended.exit_code == 1
    assert "left as it is: lines/a fold 0 omp-after 0.5 seed 0: there is no " in ended.stderr
    assert "75 → 50" in say("score", "runs", "--data-dir", "elsewhere").stdout
    assert shop.latest("runs")[0].data.source == str(there)


@pytest.mark.parametrize(
    ("changes", "predicted", "told"),
    [
        ({}, ["a", "b"], "2 answers are kept for 4 examples"),
        ({"task": "nobody/b"}, ["a"] * 4, "no task or group is named 'nobody/b'"),
        ({"task": "lines/a:colour=red"}, ["a"] * 4, "no option of task 'lines/a' is named 'colour'"),
        ({}, [], "its answers are missing or broken in "),
        ({}, [1, {}, None, "d"], None),
    ],
)
def test_what_cannot_be_scored_is_named_and_left(say, shop, record, there, changes, predicted, told) -> None:
    shop.keep("runs", record(**{"task": "lines/a", "data": data(there), "fold": 0, **changes}), predicted)
    before = shop.latest("runs")
    ended = say("score", "runs")
    if told is None:
        assert "80 → 25" in ended.stdout
        return
    assert ended.exit_code == 1 and told in ended.stderr and "Traceback" not in ended.stderr
    assert shop.latest("runs") == before


def test_data_that_has_changed_leaves_the_record(say, shop, record, there) -> None:
    shop.keep("runs", record(task="lines/a", fold=0, data=data(there)), ["a", "b", "x", "x"])
    (there / "lines.txt").write_text("a b c e")
    ended = say("score", "runs")
    assert ended.exit_code == 1
    assert "is not what was predicted: its digest is " in ended.stderr and DIGEST[:12] in ended.stderr


def test_one_reason_is_told_once_and_the_others_are_scored(say, shop, record, there) -> None:
    for seed in range(3):
        shop.keep("runs", record(task="gone/b", seed=seed), ["a"])
    shop.keep(
        "runs", record(task="lines/a", fold=0, value=50.0, data=data(there)), ["a", "b", "x", "x"], RIGHT
    )
    ended = say("score", "runs")
    assert ended.exit_code == 0
    assert "left as it is: gone/b omp-after 0.5 seed 0 and 2 more: no task" in ended.stderr
    assert "scored 1 again" in ended.stdout


def test_a_plugins_fault_is_told_with_its_name(say, shop, record, there, lines, monkeypatch) -> None:
    monkeypatch.setattr(lines, "score", lambda *_: 1 / 0)
    shop.keep("runs", record(task="lines/a", fold=0, data=data(there)), ["a", "b", "x", "x"])
    ended = say("score", "runs")
    assert ended.exit_code == 1
    assert ":Lines failed: ZeroDivisionError: division by zero (test_score.py:" in ended.stderr


def test_a_run_scores_again_as_it_scored(say, shop) -> None:
    run = ("--model", "tiny", "--tasks", "toy", "--method", "omp-after", "--sparsity", "0.5", "--quiet")
    assert say(*run, "--output", "runs").exit_code == 0
    ended = say("score", "runs")
    assert (ended.exit_code, ended.stdout) == (0, "scored 2 again: 0 changed, 2 as before\n")


def test_a_folder_without_records_is_told(say) -> None:
    ended = say("score", "nowhere")
    assert ended.exit_code == 2 and "'nowhere' holds no results.jsonl" in ended.stderr
