"""The verbs `data list`, `data verify` and `data fetch` as users meet them."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smc_eval.cli import app
from smc_eval.data_file import DataFile
from smc_eval.download.verify import Finding, verify_task
from smc_eval.registry import registry
from smc_eval.task import Task
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.synthetic import synthetic_folder

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

OURS = [kind for kind in registry().tasks.values() if kind.__module__.startswith("smc_eval.")]


@pytest.fixture
def say() -> Callable[..., Any]:
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder that holds the twin of every set."""
    for kind in OURS:
        name = getattr(kind, "data_set", "translation")
        shutil.copytree(synthetic_folder(name), tmp_path / "data", dirs_exist_ok=True)
    return tmp_path / "data"


def found(task: Task, status: str) -> list[str]:
    return [one.what for one in verify_task(task) if one.status == status]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.card.name)
def test_every_task_says_what_it_needs_under_which_licence_and_from_where(kind: type[Task]) -> None:
    needs = kind().data_files()
    assert needs
    assert all(one.licence and (one.address.startswith(("https://", "http://")) or one.note) for one in needs)
    assert len({one.path for one in needs}) == len(needs)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.card.name)
def test_what_a_task_needs_is_what_it_reads(kind: type[Task], home: Path) -> None:
    task = kind(folder=str(home))
    assert [one.what for one in verify_task(task) if one.status == "fails"] == []
    last = task.data_files()[-1]  # the first may be of an option that is not chosen
    path = last.under(home)
    assert path
    shutil.rmtree(path) if last.folder else path.unlink()
    assert found(task, "lacks") == [last.path]
    assert found(task, "fails")


def test_list_tells_path_size_checksum_address_and_licence(say: Callable[..., Any]) -> None:
    ended = say("data", "list", "csqa", "race", "meltome")
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert lines[0] == "csqa"
    assert lines[1].split("  ") == [
        "",
        "commonsenseqa/train_rand_split.jsonl",
        "3 785 890 bytes",
        "sha256 58ffa3c84724…",
        "https://s3.amazonaws.com/commensenseqa/train_rand_split.jsonl",
    ]
    assert "  licence: MIT" in lines
    assert "race/middle, race/high" in lines  # once, as both read the same
    assert "  from: http://www.cs.cmu.edu/~glai1/data/race/RACE.tar.gz" in lines
    assert any("https://github.com/J-SNACKKB/FLIP" in line for line in lines)


def test_list_as_json_tells_all_of_every_task(say: Callable[..., Any]) -> None:
    told = json.loads(say("data", "list", "--json").stdout)
    assert [one["task"] for one in told] == list(registry().tasks)
    csqa = next(one for one in told if one["task"] == "csqa")
    assert csqa["needs"][1] == {
        "path": "commonsenseqa/dev_rand_split.jsonl",
        "licence": "MIT",
        "address": "https://s3.amazonaws.com/commensenseqa/dev_rand_split.jsonl",
        "sha256": "3210497fdaae614ac085d9eb873dd7f4d49b6f965a93adadc803e1229fd8a02a",
        "bytes": 471653,
        "note": "also on the hub, by --data-dir hub: tau/commonsense_qa",
    }


def test_a_whole_folder_is_called_so_and_its_examples_are_counted(
    home: Path, say: Callable[..., Any]
) -> None:
    ended = say("data", "verify", home, "svamp/gts", "race/high", "hp-s2c2")
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert lines[:4] == [
        "svamp/gts: whole",
        "  has     mawps-asdiv-a_svamp/train.csv",
        "  has     mawps-asdiv-a_svamp/dev.csv",
        "  read    train 80, test 20",
    ]
    assert sum(line.startswith("  read    fold ") for line in lines) == 10
    assert any(line.startswith("  read    train ") and ", selection " in line for line in lines)


def test_what_is_missing_is_named_and_the_rest_is_read(home: Path, say: Callable[..., Any]) -> None:
    (home / "cv_mawps" / "fold3" / "train.csv").unlink()
    ended = say("data", "verify", home, "mawps/gts", "svamp/gts")
    assert ended.exit_code == 1
    lines = ended.stdout.splitlines()
    assert "mawps/gts: not whole" in lines and "svamp/gts: whole" in lines
    assert "  lacks   cv_mawps/fold3/train.csv" in lines
    assert "  has     cv_mawps/fold3/dev.csv" in lines
    assert "  read    fold 2, train 80, test 20" in lines
    (fails,) = (line for line in lines if line.startswith("  fails "))
    assert "fold 3, train: " in fails and "has no cv_mawps/fold3/train.csv" in fails


def test_the_first_fault_of_a_broken_file_is_told_by_file_and_line(
    home: Path, say: Callable[..., Any]
) -> None:
    path = home / "commonsenseqa" / "dev_rand_split.jsonl"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows[:4], "{", *rows[5:]]))
    ended = say("data", "verify", home, "csqa")
    assert ended.exit_code == 1
    assert f"  fails   test: {path}, line 5: no JSON: " in ended.stdout
    assert "  read    train " in ended.stdout


def test_the_part_that_selects_a_net_is_read_too(home: Path) -> None:
    path = next((home / "RACE" / "dev" / "high").iterdir())
    path.write_text("{")
    task = registry().tasks["race/middle"](folder=str(home))
    (fault,) = found(task, "fails")
    assert fault.startswith(f"selection: {path}: no JSON")


def test_what_is_not_what_was_pinned_differs_packed_or_not(
    home: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[..., Any]
) -> None:
    train = home / "commonsenseqa" / "train_rand_split.jsonl"
    content = train.read_bytes()
    train.with_name(f"{train.name}.gz").write_bytes(gzip.compress(content))
    train.unlink()
    path, right = "commonsenseqa/train_rand_split.jsonl", hashlib.sha256(content).hexdigest()
    for sha256, good in ((right, True), ("0" * 64, False)):
        needs = (DataFile(path, "MIT", "https://x", sha256),)
        monkeypatch.setattr(Csqa, "needs", lambda self, needs=needs: needs)
        assert (
            Finding("has", f"{path}, sha256 as pinned") in list(verify_task(Csqa(folder=str(home))))
        ) is good
        assert say("data", "verify", home, "csqa").exit_code == (0 if good else 1)
    assert found(Csqa(folder=str(home)), "differs") == [f"{path}: sha256 {right}; pinned is {'0' * 64}"]


def test_what_an_option_does_not_choose_may_be_lacking(home: Path, say: Callable[..., Any]) -> None:
    (home / "winogrande_1.1" / "train_xl.jsonl").unlink()
    assert say("data", "verify", home, "winogrande").exit_code == 1
    ended = say("data", "verify", home, "winogrande:size=s")
    assert ended.exit_code == 0, ended.output
    assert "  lacks   winogrande_1.1/train_xl.jsonl" in ended.stdout


def test_a_task_that_fails_in_a_way_it_should_not_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[..., Any]
) -> None:
    def failing(self: Csqa, part: str) -> list[Any]:
        return [1 // 0]

    monkeypatch.setattr(Csqa, "data", failing)
    ended = say("data", "verify", home, "csqa")
    assert ended.exit_code == 1
    assert "csqa:Csqa failed: ZeroDivisionError" in ended.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verify", "nowhere"), "there is no data directory 'nowhere'"),
        (("verify", ".", "csq"), "no task or group is named 'csq'; did you mean 'csqa'?"),
        (("list", "csqa:colour=red"), "no option of task 'csqa' is named 'colour'"),
        (("list", "csqa:folder=x"), "'folder' is no option of task 'csqa'"),
        (("fetch", "csqa"), "missing option '--data-dir'"),
        (("fetch", "csqa", "--data-dir", "hub"), "'hub' is no folder that files could be put into"),
        (("fetch",), "missing argument 'TASKS…'"),
        (("lst",), "no such command 'lst'"),
    ],
)
def test_a_wrong_command_line_is_told_in_three_lines_at_most(
    words: tuple[str, ...],
    said: str,
    say: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = say("data", *words)
    assert ended.exit_code == 2, ended.output
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def served(web: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """CommonsenseQA's twin on the web, pinned."""
    files = {
        path.name: path.read_bytes()
        for path in (synthetic_folder("commonsenseqa") / "commonsenseqa").iterdir()
    }
    web.things.update(files)
    needs = tuple(
        DataFile(f"commonsenseqa/{name}", "MIT", web.address(name), hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    )
    monkeypatch.setattr(Csqa, "needs", lambda self: needs)
    return files


def test_what_was_fetched_is_whole_and_trains(
    web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[..., Any]
) -> None:
    served(web, monkeypatch)
    monkeypatch.setenv("SMC_EVAL_DATA", str(tmp_path / "data"))
    ended = say("data", "fetch", "csqa")
    assert ended.exit_code == 0, ended.output
    assert "commonsenseqa/dev_rand_split.jsonl: done" in ended.stdout
    assert say("data", "verify", tmp_path / "data", "csqa").exit_code == 0
    assert Csqa(folder=str(tmp_path / "data")).data("test") == Csqa().data("test")


def test_what_must_be_had_by_hand_is_told_and_is_no_success(
    web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[..., Any]
) -> None:
    served(web, monkeypatch)
    ended = say("data", "fetch", "csqa", "hp-s2c2", "meltome", "--data-dir", tmp_path)
    assert ended.exit_code == 1
    assert "commonsenseqa/dev_rand_split.jsonl: done" in ended.stdout
    told = ended.stderr.splitlines()
    assert len(told) == 2
    assert told[0].startswith("hotprotein/s2c2/: no address is pinned; ")
    assert "https://github.com/VITA-Group/HotProtein" in told[0]


def test_a_server_that_lacks_a_file_is_told_and_what_came_before_is_kept(
    web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[..., Any]
) -> None:
    first, second = served(web, monkeypatch)
    del web.things[second]
    ended = say("data", "fetch", "csqa", "--data-dir", tmp_path)
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"error: {web.address(second)} answers 404 Not Found")
    assert (tmp_path / "commonsenseqa" / first).is_file()


def test_real_word_problems_are_whole(data_dir: Path, say: Callable[..., Any]) -> None:
    ended = say("data", "verify", data_dir, "mawps/gts")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.count("train 1537, test 384\n") == 5
