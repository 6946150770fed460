"""Synthetic word problems: small, learnable, the same on every machine, and marked as synthetic."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from smc_eval.errors import DataError, UnknownName
from smc_eval.tasks.arithmetic.problems import read_problems
from smc_eval.tasks.arithmetic.symbols import output_symbols
from smc_eval.tasks.equation import value
from smc_eval.tasks.folder import content_digest, find_file, lines
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.tasks.synthetic.draws import Draws
from smc_eval.tasks.synthetic.folders import WRITERS
from smc_eval.tasks.synthetic.stories import STORY_NAMES, STORY_THINGS

PROBLEMS = ("cv_mawps", "cv_asdiv-a", "mawps-asdiv-a_svamp")


def folds(name):
    return [""] if name == "mawps-asdiv-a_svamp" else [f"/fold{fold}" for fold in range(5)]


def parts(folder, name, fold):
    return [read_problems(find_file(folder, f"{name}{fold}/{part}.csv")) for part in ("train", "dev")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("synthetic")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("cv_mawps", "49f620abd9e96417b737a25be618b3ea0de97cf89e689b03e9574371f349297b"),
        ("cv_asdiv-a", "4fc5ab66ff9b94d796ea1f4538e0dd6639116bc38bf1af13db49681f57e03213"),
        ("mawps-asdiv-a_svamp", "938f9684da60d7dc889038081a49ba947a575f2b75296d2d60ba103b0744221c"),
    ],
)
def test_synthetic_data_is_the_same_byte_for_byte_on_every_machine(cache, name, digest):
    folder = synthetic_folder(name, cache)
    assert content_digest(sorted(folder.rglob("*.csv"))) == digest


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_fold_has_160_and_40_problems_with_a_value(cache, name):
    for fold in folds(name):
        train, test = parts(synthetic_folder(name, cache), name, fold)
        assert (len(train), len(test)) == (160, 40)
        assert all(value(problem.equation, problem.numbers) is not None for problem in train + test)
        assert {len(problem.numbers) for problem in train} == {1, 2}


@pytest.mark.parametrize("name", ["cv_mawps", "cv_asdiv-a"])
def test_the_test_parts_of_the_folds_hold_each_problem_once(cache, name):
    tested = [
        problem for fold in folds(name) for problem in parts(synthetic_folder(name, cache), name, fold)[1]
    ]
    for fold in folds(name):
        train, test = parts(synthetic_folder(name, cache), name, fold)
        assert sorted(map(repr, train + test)) == sorted(map(repr, tested))


@pytest.mark.parametrize(
    ("name", "rare"), [("cv_mawps", {"25.0"}), ("cv_asdiv-a", set()), ("mawps-asdiv-a_svamp", {"25.0"})]
)
def test_a_constant_is_a_symbol_and_a_rare_one_is_none(cache, name, rare):
    for fold in folds(name):
        train, test = parts(synthetic_folder(name, cache), name, fold)
        known = output_symbols(train, test)
        assert sorted(known.operators) == ["*", "+", "-", "/"]
        assert set(known.constants) == {"2.0"}
        unknown = {s for p in train + test for s in p.equation if known.symbol(known.index(s)) == "UNK"}
        assert unknown == rare


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_test_question_is_in_a_training_file_and_none_is_there_twice(cache, name):
    for fold in folds(name):
        train, test = parts(synthetic_folder(name, cache), name, fold)
        questions = [tuple(word.lower() for word in problem.words) for problem in test]
        assert not set(questions) & {tuple(word.lower() for word in problem.words) for problem in train}
        assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_words_of_a_question_without_names_and_things_decide_its_equation_but_for_one_of_twenty(
    cache, name
):
    filling = {word for filler in STORY_NAMES + STORY_THINGS for word in (filler, filler.lower())}
    for fold in folds(name):
        train, test = parts(synthetic_folder(name, cache), name, fold)
        equations = {}
        for problem in train + test:
            story = tuple(word.lower() for word in problem.words if word not in filling)
            equations.setdefault(story, Counter())[problem.equation] += 1
        odd = sum(counts.total() - counts.most_common(1)[0][1] for counts in equations.values())
        rare = sum("25.0" in problem.equation for problem in train + test)
        assert (odd + rare) / len(train + test) == 0.05


@pytest.mark.parametrize("name", PROBLEMS)
def test_groups_are_windows_around_numbers(cache, name):
    for fold in folds(name):
        train, test = parts(synthetic_folder(name, cache), name, fold)
        for problem in train + test:
            for at in problem.number_at:
                assert {at, at + 1} <= set(problem.groups)


HEADERS = {
    "cv_mawps/fold0/train.csv": "Question,Numbers,Equation,Answer,group_nums,Body,Ques_Statement",
    "cv_asdiv-a/fold4/dev.csv": "Question,Numbers,Equation,Answer,group_nums,Grade,Type,Body,Ques_Statement",
    "mawps-asdiv-a_svamp/train.csv": "Question,Numbers,Equation,Answer,group_nums,Body,Ques",
    "mawps-asdiv-a_svamp/dev.csv": (
        "Question,Numbers,Equation,Answer,group_nums,Type,Variation Type,Body,Ques"
    ),
}


@pytest.mark.parametrize(("file", "header"), HEADERS.items())
def test_synthetic_files_have_the_official_columns(cache, file, header):
    assert next(lines(find_file(synthetic_folder(file.split("/")[0], cache), file))) == f"{header}\n"


@pytest.mark.parametrize(("file", "header"), HEADERS.items())
def test_the_official_files_have_the_official_columns(data_dir, file, header):
    assert next(lines(find_file(data_dir, file))).strip() == header


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_column_answer_holds_the_value_of_the_equation(name):
    for content in WRITERS[name]().values():
        for row in csv.DictReader(io.StringIO(content.decode())):
            equation = row["Equation"].replace("number", "N").split()
            assert float(row["Answer"]) == value(equation, [float(n) for n in row["Numbers"].split()])


def test_synthetic_data_is_written_once_and_used_again(tmp_path):
    folder = synthetic_folder("cv_mawps", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.csv")}
    assert synthetic_folder("cv_mawps", tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_the_path_shows_that_data_is_synthetic_and_real_files_stay(tmp_path):
    real = tmp_path / "cv_mawps" / "fold0" / "dev.csv"
    real.parent.mkdir(parents=True)
    real.write_text("real")
    folder = synthetic_folder("cv_mawps", tmp_path)
    assert folder.parent == tmp_path
    assert folder.name.startswith("synthetic-")
    assert real.read_text() == "real"


def test_altered_or_missing_synthetic_files_are_written_again(tmp_path):
    folder = synthetic_folder("cv_asdiv-a", tmp_path)
    whole = content_digest(sorted(folder.rglob("*.csv")))
    find_file(folder, "cv_asdiv-a/fold0/dev.csv").write_text("Question")
    find_file(folder, "cv_asdiv-a/fold1/dev.csv").unlink()
    assert content_digest(sorted(synthetic_folder("cv_asdiv-a", tmp_path).rglob("*.csv"))) == whole


def test_several_threads_and_processes_can_write_synthetic_data_at_once(tmp_path):
    code = (
        "from pathlib import Path; from smc_eval.tasks.synthetic.folders import synthetic_folder; "
        f"synthetic_folder('cv_mawps', Path({str(tmp_path)!r}))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: synthetic_folder("cv_mawps", tmp_path), range(16)))
    assert [process.wait() for process in processes] == [0, 0]
    (folder,) = folders
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 10
    assert len(parts(folder, "cv_mawps", "/fold4")[0]) == 160


def test_by_default_synthetic_data_is_in_the_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert synthetic_folder("cv_mawps").parent == tmp_path / "smc-eval"


def test_the_temporary_folder_is_used_if_the_cache_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert synthetic_folder("cv_mawps").is_relative_to(tmp_path / "tmp")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(
        DataError, match=r"cannot write synthetic data for cv_mawps .*set XDG_CACHE_HOME or TMPDIR"
    ):
        synthetic_folder("cv_mawps")


def test_an_unknown_set_is_reported(tmp_path):
    with pytest.raises(
        UnknownName, match="no synthetic data set is named 'cv_mawp'; did you mean 'cv_mawps'"
    ):
        synthetic_folder("cv_mawp", tmp_path)


def test_draws_never_change():
    draws = Draws("seed")
    assert [draws.between(1, 6) for _ in range(12)] == [1, 2, 6, 2, 1, 6, 5, 4, 4, 4, 5, 3]
    assert draws.shuffled("abcdef") == ["b", "e", "d", "f", "c", "a"]
    assert draws.pick(("only",)) == "only"
