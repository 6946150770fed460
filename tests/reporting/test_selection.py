"""What the footer says of epochs that were selected on the reported split."""

from __future__ import annotations

from typing import Any

from smc_eval.reporting.selection import selection_gain, selection_notes


def epochs(*scores: float, remaining: int = 40) -> list[dict[str, Any]]:
    return [{"step": step, "score": score, "remaining": remaining} for step, score in enumerate(scores, 1)]


def test_the_gain_of_selection_is_the_best_epoch_above_the_last(record) -> None:
    results = [record(value=80.0, epochs=epochs(80.0, 78.5))]
    results.append(record(value=80.0, seed=1, epochs=epochs(78.5, 80.0)))
    assert [selection_gain(result) for result in results] == [1.5, 0.0]
    (note,) = selection_notes(results)
    assert note == (
        "best epoch of t/a chosen on the reported split: its accuracy (%) is 0.8 (0.0 to 1.5) better "
        "than the last epoch's, in 2 cells"
    )


def test_each_task_has_a_line_with_the_digits_of_its_metric(record) -> None:
    rho = {"metric": "Spearman's rho"}
    results = [
        record(value=80.0, epochs=epochs(80.0, 78.5)),
        record(value=0.93, task="t/rho", score=rho, epochs=epochs(0.93, 0.89)),
    ]
    assert [note.partition(" better")[0].split()[-1] for note in selection_notes(results)] == ["1.5", "0.040"]


def test_epochs_compared_on_other_examples_gain_nothing_on_the_reported_split(record) -> None:
    held_out = record(value=80.0, epochs=epochs(80.0, 78.5), recipe={"validation": 0.1})
    own_split = record(value=90.0, epochs=epochs(100.0, 100.0, 87.5))
    assert selection_gain(held_out) is None
    assert selection_gain(own_split) is None
    assert not list(selection_notes([held_out, own_split, record(value=82.0)]))


def test_only_the_sparsest_epochs_were_compared(record) -> None:
    dense = epochs(95.0, 90.0, remaining=100)
    assert selection_gain(record(value=70.0, epochs=[*dense, *epochs(70.0, 68.0)])) == 2.0
    assert selection_gain(record(value=5.0, epochs=epochs(25.0, 25.0, 20.0))) is None  # pruned after it


def test_a_lower_score_can_be_the_better_one(record) -> None:
    result = record(value=3.0, score={"higher_is_better": False}, epochs=epochs(3.0, 3.5))
    assert selection_gain(result) == 0.5
