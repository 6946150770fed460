"""Predictions are read as they were written, or not at all."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from smc_eval.errors import StoreError
from smc_eval.score import Items, accuracy
from smc_eval.store.predictions import Predictions


def test_an_accuracy_is_the_mean_of_its_items() -> None:
    score = accuracy([True, False, True, True], "accuracy (%)", "sig")
    assert score.items == Items("mean", ((100.0,), (0.0,), (100.0,), (100.0,)))
    assert score.value == sum(value for (value,) in score.items.rows) / score.n


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    items = Items("bleu", ((1, 0, 0, 0, 2, 1, 0, 0, 2, 3),), ("en-fr",))
    Predictions(tmp_path).save("d1", ["deux mots"], items)
    assert Predictions(tmp_path).predicted("d1") == ["deux mots"]
    assert Predictions(tmp_path).items("d1") == items
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["d1.json.gz"]


def test_a_score_without_items_keeps_its_predictions(tmp_path: Path) -> None:
    Predictions(tmp_path).save("d1", [1, None, [0.5, "b"]], None)
    assert Predictions(tmp_path).predicted("d1") == [1, None, [0.5, "b"]]
    assert Predictions(tmp_path).items("d1") is None


@pytest.mark.parametrize(
    "content", [b"", b"text", gzip.compress(b"{}", mtime=0)[:-4], gzip.compress(b"{", mtime=0)]
)
def test_missing_or_broken_predictions_are_none(tmp_path: Path, content: bytes) -> None:
    predictions = Predictions(tmp_path)
    assert predictions.predicted("d1") is None and predictions.items("d1") is None
    predictions.folder.mkdir()
    (predictions.folder / "d1.json.gz").write_bytes(content)
    assert predictions.predicted("d1") is None and predictions.items("d1") is None


def test_the_error_names_the_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "predictions").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot write .*d1.json.gz: "):
        Predictions(tmp_path).save("d1", [1], None)


def test_items_of_whole_numbers_equal_those_that_were_saved(tmp_path: Path) -> None:
    items = Items("bleu", ((3, 4, 40), (0, 1, 7)), ())
    Predictions(tmp_path).save("d1", ["a", "b"], items)
    assert Predictions(tmp_path).items("d1") == items
