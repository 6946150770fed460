"""Parallel text: found by official names, and refused if the files are not aligned."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from smc_eval.errors import DataError, UnknownName, UsageError
from smc_eval.tasks.translation.corpus import (
    PARTS,
    Sentence,
    balanced_counts,
    find_corpus,
    read_pairs,
    text_files,
    without_blanks,
)
from smc_eval.tasks.translation.languages import Direction, directions
from smc_eval.tasks.translation.translation import TwoToTwo

FRENCH = Direction("en", "fr")


def write_corpus(folder: Path, **files: str) -> Path:
    """A data folder; `corpus__train_en` stands for translation/corpus/train.en."""
    for name, text in files.items():
        place, _, file = name.partition("__")
        path = folder / "translation" / place / file.replace("_", ".").replace("0", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_directions_are_from_and_to_english_or_between_any_two_languages() -> None:
    assert [str(one) for one in directions(("fr", "cs"), "english")] == ["en-fr", "fr-en", "en-cs", "cs-en"]
    assert len(list(directions(("fr", "cs"), "all"))) == 6


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (("fr", "xx"), "no language is named 'xx'"),
        (("fr", "fr"), "name each once"),
        (("fr", "en"), "leave out 'en'"),
    ],
)
def test_invalid_languages_are_refused(codes: tuple[str, ...], message: str) -> None:
    with pytest.raises((UnknownName, UsageError), match=message):
        list(directions(codes, "english"))


def test_text_has_one_file_a_language_or_one_a_pair_in_either_order(tmp_path: Path) -> None:
    write_corpus(
        tmp_path,
        a__train_en="one\n",
        a__train_fr="un\n",
        b__train_fr0en_en="two\n",
        b__train_fr0en_fr="deux\n",
    )
    home = tmp_path / "translation"
    for place, wanted in (("a", ("one", "un")), ("b", ("two", "deux"))):
        files = text_files(home / place, "train", FRENCH)
        assert files is not None
        assert read_pairs(files) == [tuple(f"{word}\n" for word in wanted)]
    assert text_files(home / "a", "test", FRENCH) is None


def test_gzipped_text_gives_the_same(tmp_path: Path) -> None:
    for code, text in (("en", "one\n"), ("fr", "un\n")):
        with gzip.open(tmp_path / f"train.{code}.gz", "wt", encoding="utf-8") as stream:
            stream.write(text)
    files = text_files(tmp_path, "train", FRENCH)
    assert files is not None and read_pairs(files) == [("one\n", "un\n")]


@pytest.mark.parametrize(
    ("english", "french", "message"),
    [
        ("one\ntwo\n", "un\n", r"train\.fr ends after 1 lines, .*train\.en is longer"),
        ("", "", r"train\.en is empty, or .*train\.fr is; wanted sentences"),
        ("one\n\n", "\ndeux\n", r"train\.en is empty, or .*train\.fr is; wanted sentences"),
    ],
)
def test_files_that_are_not_aligned_are_reported_with_file_and_line(
    tmp_path: Path, english: str, french: str, message: str
) -> None:
    write_corpus(tmp_path, a__train_en=english, a__train_fr=french)
    files = text_files(tmp_path / "translation" / "a", "train", FRENCH)
    assert files is not None
    with pytest.raises(DataError, match=message):
        read_pairs(files)


def test_a_blank_line_takes_its_translation_with_it_and_is_counted(tmp_path: Path) -> None:
    write_corpus(tmp_path, a__train_en="one\n\n three \n\u3000\nfive\n", a__train_fr="un\ndeux\ntrois\n\n \n")
    files = text_files(tmp_path / "translation" / "a", "train", FRENCH)
    assert files is not None
    kept = [Sentence(FRENCH, "one", "un"), Sentence(FRENCH, "three", "trois")]
    assert without_blanks(read_pairs(files), FRENCH, None) == (kept, 3)
    assert without_blanks(read_pairs(files), FRENCH, 2) == (kept, 1)


def test_a_task_leaves_blank_lines_out_of_both_of_their_directions(tmp_path: Path) -> None:
    texts = {"en": "one\ntwo\nthree\n", "fr": "un\n\ntrois\n", "cs": "jedna\ndva\n\n"}
    write_corpus(tmp_path, **{f"a__{part}_{code}": text for part in PARTS for code, text in texts.items()})
    task = TwoToTwo(folder=str(tmp_path))
    assert [task.left_out(part) for part in PARTS] == [4, 4]
    assert [(str(s.direction), s.source) for s in task.data("test")] == [
        ("en-fr", "one"), ("fr-en", "un"), ("en-cs", "one"), ("cs-en", "jedna"),
        ("en-fr", "three"), ("fr-en", "trois"), ("en-cs", "two"), ("cs-en", "dva"),
    ]  # fmt: skip


def test_bytes_that_are_not_text_are_reported_with_file_and_line(tmp_path: Path) -> None:
    write_corpus(tmp_path, a__train_en="one\n", a__train_fr="")
    (tmp_path / "translation" / "a" / "train.fr").write_bytes(b"\xff\n")
    files = text_files(tmp_path / "translation" / "a", "train", FRENCH)
    assert files is not None
    with pytest.raises(DataError, match=r"train\.fr, line 1: byte 0xff is not UTF-8"):
        read_pairs(files)


def test_the_only_corpus_with_all_languages_is_taken_and_several_need_a_choice(tmp_path: Path) -> None:
    whole = {f"{part}_{code}": "x\n" for part in ("train", "test") for code in ("en", "fr")}
    write_corpus(tmp_path, **{f"a__{name}": text for name, text in whole.items()}, b__train_en="x\n")
    assert find_corpus(tmp_path, None, [FRENCH]).name == "a"
    with pytest.raises(DataError, match=r"b has no train text for en-fr; wanted train\.en and train\.fr"):
        find_corpus(tmp_path, "b", [FRENCH])
    with pytest.raises(DataError, match="there is no corpus 'c' in .*; it holds: a, b"):
        find_corpus(tmp_path, "c", [FRENCH])
    write_corpus(tmp_path, **{f"b__{name}": text for name, text in whole.items()})
    with pytest.raises(DataError, match="several corpora with these languages: a, b; choose one"):
        find_corpus(tmp_path, None, [FRENCH])


def test_a_folder_without_the_languages_is_reported_with_the_missing_file(tmp_path: Path) -> None:
    write_corpus(tmp_path, a__train_en="x\n")
    with pytest.raises(
        DataError, match=r"no corpus under .* has all 2 directions\n.*a has no train text"
    ) as message:
        find_corpus(tmp_path, None, [FRENCH, Direction("fr", "en")])
    assert len(str(message.value).splitlines()) <= 3
    with pytest.raises(DataError, match="has no folder 'translation'"):
        find_corpus(tmp_path / "translation", None, [FRENCH])


@pytest.mark.parametrize(
    "name", ["..", "../..", ".", "", "../secret", "/", "a/b", "..\\x", "a" * 5000, "a\0b"]
)
def test_a_corpus_stays_in_the_data_folder(tmp_path: Path, name: str) -> None:
    home = tmp_path / "data" / "translation"
    home.mkdir(parents=True)
    (tmp_path / "data" / "secret").mkdir()
    for place in (tmp_path, tmp_path / "data", home, tmp_path / "data" / "secret"):
        for file in ("train.en", "train.de", "test.en", "test.de"):
            (place / file).write_text("a line\n")
    with pytest.raises(DataError, match=r"no name of a folder in|there is no corpus"):
        find_corpus(tmp_path / "data", name, directions(("de",), "english"))


def test_small_directions_are_repeated_by_temperature() -> None:
    big, small = FRENCH, Direction("en", "gu")
    assert balanced_counts({big: 800, small: 100}, 1.0) == {big: 800, small: 100}
    assert balanced_counts({big: 800, small: 100}, 1.5) == {big: 800, small: 200}  # 8 ^ (2/3) = 4
    assert balanced_counts({big: 800, small: 100}, 1e9) == {big: 800, small: 800}


def test_real_text_in_both_layouts(data_dir: Path) -> None:
    multiway, pairwise = (TwoToTwo(folder=str(data_dir), corpus=name) for name in ("ntrex", "tatoeba"))
    assert (len(multiway.data("train")), len(multiway.data("test"))) == (4 * 1624, 4 * 193)
    assert (len(pairwise.data("train")), len(pairwise.data("test"))) == (4 * 800, 4 * 100)
    there, back = pairwise.data("test")[:2]
    assert (there.source, there.target) == (back.target, back.source)
