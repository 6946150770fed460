"""OPUS-100 on the hub gives the same sentences as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from smc_eval.errors import DataError
from smc_eval.tasks.translation.corpus import Sentence, without_blanks
from smc_eval.tasks.translation.languages import Direction
from smc_eval.tasks.translation.opus import opus_pairs
from smc_eval.tasks.translation.translation import TwoToTwo

COMMIT = "f" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The local cache of the hub with English and French, English and Czech, in its layout."""
    from datasets import Dataset

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "datasets--Helsinki-NLP--opus-100"
    refs = place / "refs" / "refs" / "convert"
    refs.mkdir(parents=True)
    (refs / "parquet").write_text(COMMIT)
    for config, code in (("en-fr", "fr"), ("cs-en", "cs")):
        for split, count in (("train", 3), ("validation", 1), ("test", 2)):
            folder = place / "snapshots" / COMMIT / config / split
            folder.mkdir(parents=True)
            rows = [{"translation": {"en": f" {split} {n} ", code: f"{code} {n}"}} for n in range(count)]
            rows.insert(1, {"translation": {"en": "alone", code: ""}})
            Dataset.from_list(rows).to_parquet(folder / "0000.parquet")
    return tmp_path


def test_the_hub_and_files_give_the_same(cache: Path, tmp_path: Path) -> None:
    home = tmp_path / "files" / "translation" / "opus"
    home.mkdir(parents=True)
    for code in ("fr", "cs"):
        for part, count in (("train", 3), ("test", 2)):
            for side, text in (("en", part), (code, code)):
                lines = "".join(f"{text} {n}\n" for n in range(count))
                (home / f"{part}.{code}-en.{side}").write_text(lines, encoding="utf-8")
    hub, files = TwoToTwo(folder="hub"), TwoToTwo(folder=str(tmp_path / "files"))
    for part in ("train", "test"):
        assert hub.data(part) == files.data(part)
    assert hub.sources()[0].name == "hub:Helsinki-NLP/opus-100"
    assert hub.sources()[0].digest != files.sources()[0].digest


def test_the_option_sentences_takes_the_first_sentences(cache: Path) -> None:
    direction = Direction("fr", "en")
    first = [Sentence(direction, "fr 0", "train 0")]
    assert without_blanks(opus_pairs(direction, "train"), direction, 1) == (first, 0)
    assert len(TwoToTwo(folder="hub", sentences=2).data("train")) == 4 * 2
    assert len(TwoToTwo(folder="hub", sentences=2).data("test")) == 4 * 2


def test_directions_without_english_are_refused(cache: Path) -> None:
    with pytest.raises(DataError, match="has no text for fr-cs; all its directions are from or to English"):
        list(opus_pairs(Direction("fr", "cs"), "train"))


def test_rows_with_a_blank_side_are_counted(cache: Path) -> None:
    task = TwoToTwo(folder="hub")
    assert [task.left_out(part) for part in ("train", "test")] == [4, 4]
    assert TwoToTwo(folder="hub", sentences=1).left_out("train") == 0
