"""Meltome in both of FLIP's formats, and the errors for broken files."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from smc_eval.errors import DataError
from smc_eval.tasks.protein import meltome

FLIP = "sequence,target,set,validation\nMKV,43.3,train,\nMEE,50.5,train,True\nMAC,61.0,test,\n"
OLDER = (
    ">S0 TARGET=43.3 SET=train VALIDATION=False\nMK\nV\n"
    ">S1 TARGET=50.5 SET=train VALIDATION=True\nMEE\n"
    ">S2 TARGET=61.0 SET=test\nMAC\n"
)


def error_message(act: Callable[[], object]) -> str:
    """The message of a DataError; checks that it has at most three lines."""
    with pytest.raises(DataError) as caught:
        act()
    message = str(caught.value)
    assert len(message.splitlines()) <= 3 and not message.endswith(".")
    return message


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    "name", ["mixed_split.csv", "mixed_split.fasta", "meltome_cv_test.fasta", "another_name.csv"]
)
def test_a_split_is_read_from_csv_and_from_fasta(tmp_path: Path, name: str, packed: str) -> None:
    content = (FLIP if name.endswith("csv") else OLDER).encode()
    path = tmp_path / "meltome" / f"{name}{packed}"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(content) if packed else content)
    split = meltome.find_flip(tmp_path, "mixed_split")
    train, test = split.parts()
    assert list(split.files) == [path]
    assert [(protein.sequence, protein.answer) for protein in train] == [("MKV", 43.3), ("MEE", 50.5)]
    assert [(protein.sequence, protein.answer) for protein in test] == [("MAC", 61.0)]


def test_of_several_files_the_one_with_the_right_name_is_read(tmp_path: Path) -> None:
    (tmp_path / "meltome").mkdir()
    for name in ("human.csv", "mixed_split.csv"):
        (tmp_path / "meltome" / name).write_text(FLIP)
    assert [path.name for path in meltome.find_flip(tmp_path, "human").files] == ["human.csv"]
    assert "has no human_cell.csv, but 2 others" in error_message(
        lambda: meltome.find_flip(tmp_path, "human_cell")
    )
    shutil.rmtree(tmp_path / "meltome")
    assert "has no meltome/human.csv" in error_message(lambda: meltome.find_flip(tmp_path, "human"))


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("csv", FLIP.replace("43.3", ""), "line 2: the temperature is ''"),
        ("csv", FLIP.replace("43.3", "inf"), "line 2: the temperature is 'inf'"),
        ("csv", FLIP.replace("43.3,train", "43.3,dev"), "line 2: the set is 'dev'; wanted train or test"),
        ("csv", FLIP.replace("MKV", "M K"), "line 2: ' ' in the sequence is not a residue"),
        ("csv", FLIP.replace(",set,", ",part,"), "line 1: no column set"),
        ("csv", FLIP.replace("test", "train"), "one part holds no proteins"),
        ("fasta", OLDER.replace("TARGET=43.3 ", ""), "line 1: the header has no TARGET"),
        ("fasta", OLDER.replace("SET=test", ""), "line 6: the header has no SET"),
        ("fasta", OLDER.replace("MEE", ""), "line 4: the sequence is empty"),
        ("fasta", OLDER.replace("S2", "S0"), "'S0' is in train and in test"),
        ("fasta", "", "one part holds no proteins"),
    ],
)
def test_a_broken_file_is_reported_with_its_line(tmp_path: Path, file: str, content: str, words: str) -> None:
    (tmp_path / "meltome").mkdir()
    (tmp_path / "meltome" / f"mixed_split.{file}").write_text(content)
    assert words in error_message(meltome.find_flip(tmp_path, "mixed_split").parts)


def test_the_official_fasta_of_meltome_is_read(data_dir: Path) -> None:
    if not (data_dir / "meltome").is_dir():
        pytest.skip("no Meltome among the real data")
    train, test = meltome.find_flip(data_dir, "mixed_split").parts()
    assert (len(train), len(test)) == (71, 29)
    assert train[0].name == "Sequence0" and train[0].answer == 43.3297884677024
