"""Data sets on the hub: read from the local cache in the hub's layout; missing files are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smc_eval.errors import DataError
from smc_eval.tasks.hub import PARQUET, HubSet, joint_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"

PAIRS = HubSet("org/pairs", "en-fr", ("id", "text"))


def cached(home: Path, **splits: list[dict[str, Any]]) -> None:
    """Parquet files of `PAIRS`, in the places where the hub's client puts them."""
    from datasets import Dataset

    place = home / "datasets--org--pairs"
    (place / "refs" / PARQUET).parent.mkdir(parents=True)
    (place / "refs" / PARQUET).write_text(COMMIT)
    for split, rows in splits.items():
        folder = place / "snapshots" / COMMIT / "en-fr" / split
        folder.mkdir(parents=True)
        Dataset.from_list(rows).to_parquet(folder / "0000.parquet")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_rows_are_in_order_and_hold_the_chosen_columns_alone(home: Path) -> None:
    cached(home, train=[{"id": n, "text": f"line {n}", "more": 0} for n in range(3)])
    assert list(PAIRS.rows("train")) == [{"id": n, "text": f"line {n}"} for n in range(3)]


def test_the_digest_of_a_source_is_its_commit(home: Path) -> None:
    cached(home, train=[{"id": 0, "text": ""}], test=[{"id": 0, "text": ""}])
    source = PAIRS.source(["train", "test"])
    assert (source.role, source.name, source.digest) == ("data", "hub:org/pairs/en-fr", COMMIT)


def test_a_missing_column_is_reported_with_the_existing_ones(home: Path) -> None:
    cached(home, train=[{"id": 0, "texts": "a"}])
    with pytest.raises(DataError, match=r"'org/pairs' \(en-fr\) has no column 'text'; it has: id, texts"):
        list(PAIRS.rows("train"))


def test_a_broken_file_is_reported_by_name(home: Path) -> None:
    cached(home, train=[{"id": 0, "text": "a"}])
    path = home / "datasets--org--pairs" / "snapshots" / COMMIT / "en-fr" / "train" / "0000.parquet"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match=r"0000\.parquet of data set 'org/pairs' cannot be read: "):
        list(PAIRS.rows("train"))


def test_an_incomplete_cache_without_a_connection_is_reported_with_three_remedies(home: Path) -> None:
    with pytest.raises(
        DataError, match=r"'org/pairs' is not complete in the local cache, .*HF_HUB_OFFLINE is set"
    ) as caught:
        PAIRS.source(["train"])
    assert len(str(caught.value).splitlines()) == 3
    cached(home, train=[{"id": 0, "text": "a"}])
    with pytest.raises(DataError, match="has no split 'test' of 'en-fr' in the local cache"):
        list(PAIRS.rows("test"))


def test_examples_are_in_order_and_an_invalid_row_is_reported_by_number(home: Path) -> None:
    cached(home, train=[{"id": n, "text": "ab"[n]} for n in range(2)], test=[{"id": 0, "text": ""}])

    def convert(row: dict[str, Any]) -> str:
        if not row["text"]:
            raise ValueError("no text")
        return str(row["text"]) * 2

    assert list(PAIRS.read("train", convert)) == ["a", "a", "b", "b"]
    with pytest.raises(DataError, match=r"^hub:org/pairs/en-fr, test, row 1: no text$"):
        list(PAIRS.read("test", convert))


def test_a_split_without_rows_is_refused(home: Path) -> None:
    cached(home, train=[{"id": 0, "text": "a"}])
    path = home / "datasets--org--pairs" / "snapshots" / COMMIT / "en-fr" / "train" / "0000.parquet"
    path.unlink()
    from datasets import Dataset

    Dataset.from_dict({"id": [], "text": []}).to_parquet(path)
    with pytest.raises(DataError, match="cannot be read: .*no data"):
        list(PAIRS.read("train", str))


def test_several_configurations_of_a_set_are_one_source(home: Path) -> None:
    cached(home, train=[{"id": 0, "text": "a"}])
    one = joint_source([PAIRS], ["train"])
    assert (one.name, one.digest) == ("hub:org/pairs/en-fr", COMMIT)
    both = joint_source([PAIRS, PAIRS], ["train"])
    assert both.name == "hub:org/pairs/en-fr+en-fr"
    assert both.digest not in {COMMIT, ""}
