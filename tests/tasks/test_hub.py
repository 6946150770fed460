"""Data sets on the hub: read from the local cache as the hub lays it out; what is lacking is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smc_eval.errors import DataError
from smc_eval.tasks.hub import PARQUET, HubSet

COMMIT = "0123456789abcdef0123456789abcdef01234567"

PAIRS = HubSet("org/pairs", "en-fr", ("id", "text"))


def cached(home: Path, **splits: list[dict[str, Any]]) -> None:
    """Parquet files of `PAIRS`, where the hub's client would have put them."""
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
    """An empty cache of the hub's."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_rows_come_in_order_with_the_columns_that_are_read(home: Path) -> None:
    cached(home, train=[{"id": n, "text": f"line {n}", "more": 0} for n in range(3)])
    assert list(PAIRS.rows("train")) == [{"id": n, "text": f"line {n}"} for n in range(3)]


def test_a_source_is_named_by_its_commit(home: Path) -> None:
    cached(home, train=[{"id": 0, "text": ""}], test=[{"id": 0, "text": ""}])
    source = PAIRS.source(["train", "test"])
    assert (source.role, source.name, source.digest) == ("data", "hub:org/pairs/en-fr", COMMIT)


def test_a_missing_column_is_told_with_those_that_are_there(home: Path) -> None:
    cached(home, train=[{"id": 0, "texts": "a"}])
    with pytest.raises(DataError, match=r"'org/pairs' \(en-fr\) has no column 'text'; it has: id, texts"):
        list(PAIRS.rows("train"))


def test_a_broken_file_is_told_by_name(home: Path) -> None:
    cached(home, train=[{"id": 0, "text": "a"}])
    path = home / "datasets--org--pairs" / "snapshots" / COMMIT / "en-fr" / "train" / "0000.parquet"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match=r"0000\.parquet of data set 'org/pairs' cannot be read: "):
        list(PAIRS.rows("train"))


def test_without_the_hub_three_things_would_help(home: Path) -> None:
    with pytest.raises(
        DataError, match=r"'org/pairs' is not whole in the local cache, .*HF_HUB_OFFLINE is set"
    ) as told:
        PAIRS.source(["train"])
    assert len(str(told.value).splitlines()) == 3
    cached(home, train=[{"id": 0, "text": "a"}])
    with pytest.raises(DataError, match="has no split 'test' of 'en-fr' in the local cache"):
        list(PAIRS.rows("test"))
