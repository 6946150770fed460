"""HotProtein in its official layouts, and the errors for broken files."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import DataError
from smc_eval.tasks.protein import fasta, hotprotein
from smc_eval.tasks.protein.example import RESIDUES, Protein, residues

SEQUENCES = {"P1": "MKV", "P2": "MEEK", "P3": "MAC", "P4": "MNQ"}
CELSIUS = {"P1": 80.0, "P2": 15.0, "P3": 75.0, "P4": 39.0}
SPLIT = {
    "train_names": ["P1", "P2"],
    "train_labels": [1, 0],
    "test_names": ["P4", "P3"],
    "test_labels": [0, 1],
}
"""Fold 0, in the form of the official pickle of classes."""
CSV = "name,sequence,temperature,label\nP1,MKV,80.0,1\nP2,MEEK,15.0,0\nP3,mac*,75.0,1\nP4,MNQ,39.0,0\n"
FOLDS = {"0": {"test": ["P4", "P3"]}, "1": {"test": ["P1"]}}


@pytest.fixture
def release(tmp_path: Path) -> Callable[..., Path]:
    """A data folder with fold 0 of HP-S²C2 in an official layout."""

    def write(
        layout: str = ".tar.gz",
        split: Mapping[str, object] = SPLIT,
        place: str = "hotprotein/s2c2",
        sequences: Mapping[str, str] = SEQUENCES,
    ) -> Path:
        folder = tmp_path / "data" / place
        folder.mkdir(parents=True, exist_ok=True)
        celsius = {
            **split,
            **{
                f"{part}_labels": [CELSIUS.get(n, 20.0) for n in split[f"{part}_names"]]
                for part in ("train", "test")
            },
        }
        (folder / "d1_0.pkl").write_bytes(pickle.dumps(celsius, protocol=2))
        (folder / "d1_0_classification.pkl").write_bytes(pickle.dumps(dict(split), protocol=2))
        write_fasta(folder, layout, sequences)
        return tmp_path / "data"

    return write


def write_fasta(folder: Path, layout: str, sequences: Mapping[str, str]) -> None:
    """The sequences in one of the layouts that `fasta` reads."""
    texts = {
        name: f">tr|{name}|{name}_X Some protein OS=Some\n{seq[:2]}\n{seq[2:]}\n"
        for name, seq in sequences.items()
    }
    if layout == ".fasta":
        (folder / "d1_fasta_clean.fasta").write_text("".join(texts.values()))
        return
    apart = folder / "d1_fasta_clean"
    apart.mkdir()
    for name, text in texts.items():
        (apart / f"{name}.fasta").write_text(text)
    if layout.startswith("."):
        with tarfile.open(
            folder / f"d1_fasta_clean{layout}", "w:gz" if layout.endswith("gz") else "w"
        ) as archive:
            archive.add(apart, "d1_fasta_clean")
        for path in apart.iterdir():
            path.unlink()
        apart.rmdir()


def error_message(act: Callable[[], object]) -> str:
    """The message of a DataError; checks that it has at most three lines."""
    with pytest.raises(DataError) as caught:
        act()
    message = str(caught.value)
    assert len(message.splitlines()) <= 3 and not message.endswith(".")
    return message


def write_table(folder: Path, csv: str = CSV, folds: object = FOLDS) -> Path:
    """A data folder with HP-S²C2 as a CSV and folds."""
    place = folder / "hotprotein" / "s2c2"
    place.mkdir(parents=True, exist_ok=True)
    (place / "hp_s2c2.csv").write_text(csv)
    (place / "hp_s2c2_folds.json").write_text(folds if isinstance(folds, str) else json.dumps(folds))
    return folder


def names(proteins: list[Protein]) -> list[str]:
    return [protein.name for protein in proteins]


@pytest.mark.parametrize("layout", ["folder", ".tar", ".tar.gz", ".tgz", ".fasta"])
@pytest.mark.parametrize("place", ["hotprotein/s2c2", "hotprotein/d1", "d1"])
def test_pickles_are_read_with_their_sequences_in_every_layout(
    release: Callable[..., Path], layout: str, place: str
) -> None:
    folder = release(layout, place=place)
    train, test = hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label").parts()
    assert train == [Protein("P1", "MKV", 1), Protein("P2", "MEEK", 0)]
    assert test == [Protein("P4", "MNQ", 0), Protein("P3", "MAC", 1)]
    by_temperature = hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "temperature").parts()
    assert [protein.answer for part in by_temperature for protein in part] == [80.0, 15.0, 39.0, 75.0]


def test_files_lists_all_files_that_are_read(release: Callable[..., Path]) -> None:
    files = hotprotein.find_release(release("folder"), hotprotein.HP_S2C2, 0, "label").files
    assert [path.name for path in files] == [
        "d1_0_classification.pkl",
        *(f"P{n}.fasta" for n in (1, 2, 4, 3)),
    ]


def test_an_archive_is_one_file_and_a_folder_is_preferred_to_it(release: Callable[..., Path]) -> None:
    folder = release(".tar.gz")
    split = hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label")
    assert [path.name for path in split.files] == ["d1_0_classification.pkl", "d1_fasta_clean.tar.gz"]
    release("folder")
    assert len(hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label").files) == 5


def test_csv_and_folds_give_every_fold(tmp_path: Path) -> None:
    folder = write_table(tmp_path)
    train, test = hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label").parts()
    assert (names(train), names(test)) == (["P1", "P2"], ["P4", "P3"])
    assert test[1] == Protein("P3", "MAC", 1)
    train, test = hotprotein.find_release(folder, hotprotein.HP_S2C2, 1, "temperature").parts()
    assert (names(train), names(test)) == (["P2", "P3", "P4"], ["P1"])
    assert test[0].answer == 80.0


def test_a_fold_is_read_from_its_pickle_and_other_folds_from_the_csv(
    release: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_table(release())
    assert isinstance(hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label"), hotprotein.PickleSplit)
    assert isinstance(hotprotein.find_release(folder, hotprotein.HP_S2C2, 1, "label"), hotprotein.TableSplit)
    (folder / "hotprotein" / "s2c2" / "d1_fasta_clean.tar.gz").unlink()
    assert isinstance(hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label"), hotprotein.TableSplit)


def test_bins_are_used_only_without_a_column_label(tmp_path: Path) -> None:
    def labels(csv: str, bins: tuple[float, ...] | None) -> list[float]:
        folder = write_table(tmp_path, csv)
        split = hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label", bins)
        return [protein.answer for part in split.parts() for protein in part]

    bare = "\n".join(line.rpartition(",")[0] for line in CSV.splitlines())
    assert labels(bare, (75.0,)) == [1, 0, 0, 1]  # P3, at exactly 75, is in the second class
    assert labels(bare, (16.0,)) == [1, 0, 1, 1]
    assert labels(CSV, (16.0,)) == [1, 0, 0, 1]
    assert (
        "line 2: no column label; it could be made of a column temperature and the option bins"
        in error_message(lambda: labels(bare, None))
    )


def test_missing_files_of_a_release_are_reported(release: Callable[..., Path], tmp_path: Path) -> None:
    folder = release()
    message = error_message(lambda: hotprotein.find_release(folder, hotprotein.HP_S2C2, 3, "label"))
    assert (
        str(folder / "hotprotein/s2c2/d1_3_classification.pkl") in message and "hp_s2c2_folds.json" in message
    )
    assert "d1_3.pkl" in error_message(
        lambda: hotprotein.find_release(folder, hotprotein.HP_S2C2, 3, "temperature")
    )
    assert "d2_0_classification.pkl" in error_message(
        lambda: hotprotein.find_release(folder, hotprotein.HP_S2C5, 0, "label")
    )
    assert "S_target.pkl" in error_message(
        lambda: hotprotein.find_release(folder, hotprotein.HP_S, 0, "temperature")
    )
    (folder / "hotprotein" / "s2c2" / "d1_fasta_clean.tar.gz").unlink()
    assert "has no sequences beside it" in error_message(
        lambda: hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label")
    )
    absent = tmp_path / "absent"
    assert "does not exist" in error_message(
        lambda: hotprotein.find_release(absent, hotprotein.HP_S, 0, "label")
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test_names": ["P4", "P1"]}, "'P1' is in train and in test"),
        ({"train_names": ["P1", "P1"]}, "'P1' is twice in train"),
        ({"test_names": ["P4", "P9"]}, "no sequence of 'P9'; 1 of the split's"),
        ({"test_names": [], "test_labels": []}, "one part holds no proteins"),
        ({"train_labels": [1, 2]}, "protein 'P2': the label is 2; wanted a class from 0 to 1"),
        ({"train_labels": [1, 0.5]}, "protein 'P2': the label is 0.5"),
        ({"train_labels": [1, -1]}, "protein 'P2': the label is -1"),
        ({"train_labels": [float("nan"), 0]}, "protein 'P1': the label is nan"),
        ({"train_names": ["P1", "../P2"]}, "'../P2' is not a name of a protein"),
        ({"train_names": ["P1", ""]}, "'' is not a name of a protein"),
        ({"train_names": ["P1", "P" * 300]}, "...' is not a name of a protein"),
    ],
)
def test_an_invalid_split_is_refused(
    release: Callable[..., Path], change: dict[str, object], words: str
) -> None:
    folder = release(split={**SPLIT, **change})
    message = error_message(hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label").parts)
    assert words in message and "d1_" in message


@pytest.mark.parametrize(
    ("answer", "value"), [("temperature", "nan"), ("temperature", "-300"), ("label", "2")]
)
def test_an_invalid_answer_is_reported_with_its_line(tmp_path: Path, answer: str, value: str) -> None:
    csv = CSV.replace("15.0,0", f"{value},0" if answer == "temperature" else f"15.0,{value}")
    split = hotprotein.find_release(write_table(tmp_path, csv), hotprotein.HP_S2C2, 0, answer)  # type: ignore[arg-type]
    assert f"hp_s2c2.csv, line 3: the {answer} is '{value}'" in error_message(split.parts)


@pytest.mark.parametrize(
    ("csv", "words"),
    [
        (CSV.replace("MEEK", ""), "line 3: the sequence is empty"),
        (CSV.replace("MEEK", "***"), "line 3: the sequence is empty"),
        (CSV.replace("MEEK", "ME K"), "line 3: ' ' in the sequence is not a residue"),
        (CSV.replace("MEEK", "MJK"), "line 3: 'J' in the sequence is not a residue"),
        (CSV.replace("MEEK", "ME-K"), "line 3: '-' in the sequence is not a residue"),
        (CSV.replace("P2,", "P1,"), "line 3: 'P1' is already on line 2"),
        (CSV.replace("P4,", "P5,"), "fold 0: "),
        (CSV.replace(",label", ",class"), "line 2: no column label"),
        (CSV.replace("sequence,", "seq,"), "line 1: no column sequence"),
        (CSV.replace("MEEK,", ""), "line 3: 3 fields where the header has 4"),
        ("", "the file is empty"),
    ],
)
def test_a_broken_csv_is_reported_with_its_line(tmp_path: Path, csv: str, words: str) -> None:
    split = hotprotein.find_release(write_table(tmp_path, csv), hotprotein.HP_S2C2, 0, "label")
    assert words in error_message(split.parts)


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ("{", "is not JSON"),
        ([], "has no fold 0"),
        ({"1": {"test": ["P1"]}}, "has no fold 0"),
        ({"0": {"test": "P1"}}, "has no fold 0"),
        ({"0": {"test": [1]}}, "has no fold 0"),
        ({"0": {"test": []}}, "one part holds no proteins"),
        ({"0": {"test": ["P1", "P1"]}}, "'P1' is twice in test"),
        ({"0": {"test": ["P9"]}}, "has no protein 'P9'"),
        ({"0": {"test": ["P1", "P2", "P3", "P4"]}}, "one part holds no proteins"),
    ],
)
def test_a_broken_file_of_folds_is_reported(tmp_path: Path, folds: object, words: str) -> None:
    split = hotprotein.find_release(write_table(tmp_path, folds=folds), hotprotein.HP_S2C2, 0, "label")
    message = error_message(split.parts)
    assert words in message and "hp_s2c2_folds.json" in message


def test_a_protein_that_two_folds_test_is_refused_with_both_folds(tmp_path: Path) -> None:
    place = tmp_path / "hotprotein" / "s2c2"
    place.mkdir(parents=True)
    (place / "hp_s2c2.csv").write_text(CSV)
    (place / "hp_s2c2_folds.json").write_text(json.dumps({**FOLDS, "2": {"test": ["P2", "P3"]}}))
    for fold in (0, 1, 2):
        with pytest.raises(
            DataError, match="'P3' is tested in two folds: fold 0 of .*json and fold 2 of .*json"
        ):
            hotprotein.find_release(tmp_path, hotprotein.HP_S2C2, fold, "label").parts()


def test_a_protein_in_the_test_parts_of_two_pickles_is_refused(release: Callable[..., Path]) -> None:
    folder = release()
    other = {**SPLIT, "train_names": ["P3", "P4"], "test_names": ["P1", "P2"]}
    path = folder / "hotprotein" / "s2c2" / "d1_7_classification.pkl"
    path.write_bytes(pickle.dumps(other, protocol=2))
    split = hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label")
    assert split.parts() and path not in split.files
    path.write_bytes(
        pickle.dumps({**other, "train_names": ["P2", "P4"], "test_names": ["P1", "P3"]}, protocol=2)
    )
    split = hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label")
    with pytest.raises(DataError, match=r"'P3' is tested in two folds: .*d1_0_c.*\.pkl and .*d1_7_c.*\.pkl"):
        split.parts()


@pytest.mark.parametrize("layout", ["folder", ".tar.gz", ".fasta"])
@pytest.mark.parametrize(
    ("sequence", "words"), [("M1", "line 2: '1'"), ("", "line 1: the sequence is empty")]
)
def test_invalid_sequences_are_reported_with_file_and_line(
    release: Callable[..., Path], layout: str, sequence: str, words: str
) -> None:
    folder = release(layout, sequences={"P2": sequence, **{k: v for k, v in SEQUENCES.items() if k != "P2"}})
    message = error_message(hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label").parts)
    assert words in message and ("P2.fasta" in message or layout == ".fasta")


def test_a_truncated_archive_is_reported(release: Callable[..., Path]) -> None:
    folder = release(".tar.gz")
    path = folder / "hotprotein" / "s2c2" / "d1_fasta_clean.tar.gz"
    split = hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label")
    for content in (path.read_bytes()[:60], gzip.compress(gzip.decompress(path.read_bytes())[:1100]), b"PK"):
        path.write_bytes(content)
        assert str(path) in error_message(split.parts)


def test_a_file_of_a_folder_must_hold_exactly_one_sequence(release: Callable[..., Path]) -> None:
    folder = release("folder")
    path = folder / "hotprotein" / "s2c2" / "d1_fasta_clean" / "P2.fasta"
    path.write_text(">P2\nM\n>P3\nM\n")
    assert f"{path} holds 2 sequences" in error_message(
        hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label").parts
    )
    path.write_text("MK\n")
    assert f"{path}, line 1: 'MK' is before any header" in error_message(
        hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label").parts
    )
    path.unlink()
    assert "has no P2.fasta" in error_message(
        lambda: hotprotein.find_release(folder, hotprotein.HP_S2C2, 0, "label").files
    )


@pytest.mark.parametrize(
    ("header", "name"),
    [("tr|S2KSW0|S2KSW0_9PSED Some OS=Some", "S2KSW0"), ("P1 more words", "P1"), ("P1", "P1"), ("", "")],
)
def test_the_name_of_a_protein_is_read_from_its_header(header: str, name: str) -> None:
    assert fasta.accession(header) == name


@given(st.text(RESIDUES + RESIDUES.lower() + "*", max_size=30))
def test_a_sequence_consists_of_its_residues_in_capitals(text: str) -> None:
    wanted = "".join(letter for letter in text.upper() if letter in RESIDUES)
    if wanted:
        assert residues(text) == wanted
    else:
        with pytest.raises(ValueError, match="empty"):
            residues(text)


def official(data_dir: Path) -> Path:
    """The folder of HP-S²C2; skips the test if there is none."""
    place = data_dir / "hotprotein" / "s2c2"
    if not place.is_dir():
        pytest.skip("no HP-S²C2 among the real data")
    return place


def test_the_official_pickle_and_the_csv_give_the_same_fold_0(data_dir: Path, tmp_path: Path) -> None:
    place = official(data_dir)
    alone = tmp_path / "hotprotein" / "s2c2"
    alone.mkdir(parents=True)
    for path in place.glob("hp_s2c2*"):
        shutil.copy(path, alone)
    for answer in ("label", "temperature"):
        pickled = hotprotein.find_release(data_dir, hotprotein.HP_S2C2, 0, answer)  # type: ignore[arg-type]
        table = hotprotein.find_release(tmp_path, hotprotein.HP_S2C2, 0, answer)  # type: ignore[arg-type]
        assert isinstance(pickled, hotprotein.PickleSplit) and isinstance(table, hotprotein.TableSplit)
        for these, those in zip(pickled.parts(), table.parts(), strict=True):
            assert sorted(these, key=repr) == sorted(those, key=repr)


def test_each_protein_is_tested_in_one_of_the_ten_official_folds(data_dir: Path) -> None:
    official(data_dir)
    tested: list[str] = []
    for fold in range(10):
        train, test = hotprotein.find_release(data_dir, hotprotein.HP_S2C2, fold, "temperature").parts()
        assert len(train) + len(test) == 1965
        tested += names(test)
    assert len(tested) == len(set(tested)) == 1965


def test_the_official_second_class_begins_at_75_degrees(data_dir: Path) -> None:
    official(data_dir)
    both = (
        hotprotein.find_release(data_dir, hotprotein.HP_S2C2, 0, kind).parts()
        for kind in ("label", "temperature")
    )  # type: ignore[arg-type]
    for labels, degrees in zip(*both, strict=True):
        for labelled, measured in zip(labels, degrees, strict=True):
            assert labelled.answer == (measured.answer >= 75) and labelled.name == measured.name
