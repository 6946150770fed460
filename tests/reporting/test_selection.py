"""What the footer says of epochs that were selected on the reported split."""

from __future__ import annotations

from smc_eval.reporting.selection import selection_gain, selection_notes


def test_the_gain_of_selection_is_the_best_epoch_above_the_last(record) -> None:
    epochs = [{"step": 10, "score": 80.0, "remaining": 0}, {"step": 20, "score": 78.5, "remaining": 0}]
    results = [record(value=80.0, epochs=epochs)]
    results.append(record(value=80.0, seed=1, epochs=[epochs[1], {**epochs[0], "step": 20}]))
    assert [selection_gain(result) for result in results] == [1.5, 0.0]
    (note,) = selection_notes(results)
    assert note.startswith(
        "best epoch chosen on the reported split: its accuracy (%) is 0.8 (0.0 to 1.5) better"
    )
    assert note.endswith("than the last epoch's, in 2 cells")


def test_epochs_compared_on_held_out_examples_gain_nothing_on_the_reported_split(record) -> None:
    epochs = [{"step": 10, "score": 80.0, "remaining": 0}]
    held_out = record(value=81.0, epochs=epochs, recipe={"validation": 0.1})
    assert selection_gain(held_out) is None
    assert not list(selection_notes([held_out, record(value=82.0)]))


def test_a_lower_score_can_be_the_better_one(record) -> None:
    epochs = [{"step": 10, "score": 3.0, "remaining": 0}, {"step": 20, "score": 3.5, "remaining": 0}]
    result = record(value=3.0, score={"higher_is_better": False}, epochs=epochs)
    assert selection_gain(result) == 0.5
