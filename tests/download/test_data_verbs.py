"""The verbs `data list`, `data verify` and `data fetch` as users run them."""

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

BUILT_IN = [kind for kind in registry().tasks.values() if kind.__module__.startswith("smc_eval.")]


@pytest.fixture
def cli() -> Callable[..., Any]:
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder that holds the synthetic data of every task."""
    for kind in BUILT_IN:
        name = getattr(kind, "data_set", "translation")
        shutil.copytree(synthetic_folder(name), tmp_path / "data", dirs_exist_ok=True)
    return tmp_path / "data"


def findings(task: Task, status: str) -> list[str]:
    return [one.message for one in verify_task(task) if one.status == status]


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.card.name)
def test_every_task_lists_its_files_with_licence_and_address_or_note(kind: type[Task]) -> None:
    files = kind().data_files()
    assert files
    assert all(one.licence and (one.address.startswith(("https://", "http://")) or one.note) for one in files)
    assert len({one.path for one in files}) == len(files)


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.card.name)
def test_a_task_reads_the_files_that_it_lists(kind: type[Task], home: Path) -> None:
    task = kind(folder=str(home))
    assert [one.message for one in verify_task(task) if one.status == "cannot be read"] == []
    last = task.data_files()[-1]  # the first may belong to an option that is not chosen
    path = last.under(home)
    assert path
    shutil.rmtree(path) if last.folder else path.unlink()
    assert findings(task, "missing") == [last.path]
    assert findings(task, "cannot be read")


def test_list_prints_path_size_checksum_address_and_licence(cli: Callable[..., Any]) -> None:
    outcome = cli("data", "list", "csqa", "race", "meltome")
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.stdout.splitlines()
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


def test_list_as_json_holds_all_fields_of_every_task(cli: Callable[..., Any]) -> None:
    listed = json.loads(cli("data", "list", "--json").stdout)
    assert [entry["task"] for entry in listed] == list(registry().tasks)
    csqa = next(entry for entry in listed if entry["task"] == "csqa")
    assert csqa["data_files"][1] == {
        "path": "commonsenseqa/dev_rand_split.jsonl",
        "licence": "MIT",
        "address": "https://s3.amazonaws.com/commensenseqa/dev_rand_split.jsonl",
        "sha256": "3210497fdaae614ac085d9eb873dd7f4d49b6f965a93adadc803e1229fd8a02a",
        "bytes": 471653,
        "note": "also on the hub, by --data-dir hub: tau/commonsense_qa",
    }


def test_a_complete_folder_passes_and_its_examples_are_counted(home: Path, cli: Callable[..., Any]) -> None:
    outcome = cli("data", "verify", home, "svamp/gts", "race/high", "hp-s2c2")
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.stdout.splitlines()
    assert lines[:4] == [
        "svamp/gts: complete",
        "  found            mawps-asdiv-a_svamp/train.csv",
        "  found            mawps-asdiv-a_svamp/dev.csv",
        "  read             train 160, test 40",
    ]
    assert sum(line.startswith("  read             fold ") for line in lines) == 10
    assert any(line.startswith("  read             train ") and ", selection " in line for line in lines)


def test_a_missing_file_is_named_and_the_rest_is_read(home: Path, cli: Callable[..., Any]) -> None:
    (home / "cv_mawps" / "fold3" / "train.csv").unlink()
    outcome = cli("data", "verify", home, "mawps/gts", "svamp/gts")
    assert outcome.exit_code == 1
    lines = outcome.stdout.splitlines()
    assert "mawps/gts: incomplete" in lines and "svamp/gts: complete" in lines
    assert "  missing          cv_mawps/fold3/train.csv" in lines
    assert "  found            cv_mawps/fold3/dev.csv" in lines
    assert "  read             fold 2, train 160, test 40" in lines
    (fails,) = (line for line in lines if line.startswith("  cannot be read "))
    assert "fold 3, train: " in fails and "has no cv_mawps/fold3/train.csv" in fails


def test_the_first_error_of_a_broken_file_is_reported_with_file_and_line(
    home: Path, cli: Callable[..., Any]
) -> None:
    path = home / "commonsenseqa" / "dev_rand_split.jsonl"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows[:4], "{", *rows[5:]]))
    outcome = cli("data", "verify", home, "csqa")
    assert outcome.exit_code == 1
    assert f"  cannot be read   test: {path}, line 5: not valid JSON: " in outcome.stdout
    assert "  read             train " in outcome.stdout


def test_the_part_that_selects_a_checkpoint_is_read_too(home: Path) -> None:
    path = next((home / "RACE" / "dev" / "high").iterdir())
    path.write_text("{")
    task = registry().tasks["race/middle"](folder=str(home))
    (error,) = findings(task, "cannot be read")
    assert error.startswith(f"selection: {path}: not valid JSON")


def test_a_file_with_a_wrong_checksum_differs_compressed_or_not(
    home: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    train = home / "commonsenseqa" / "train_rand_split.jsonl"
    content = train.read_bytes()
    train.with_name(f"{train.name}.gz").write_bytes(gzip.compress(content))
    train.unlink()
    path, right = "commonsenseqa/train_rand_split.jsonl", hashlib.sha256(content).hexdigest()
    for sha256, good in ((right, True), ("0" * 64, False)):
        files = (DataFile(path, "MIT", "https://x", sha256),)
        monkeypatch.setattr(Csqa, "data_files", lambda self, files=files: files)
        assert (
            Finding("found", f"{path}, sha256 as pinned") in list(verify_task(Csqa(folder=str(home))))
        ) is good
        assert cli("data", "verify", home, "csqa").exit_code == (0 if good else 1)
    assert findings(Csqa(folder=str(home)), "checksum differs") == [
        f"{path}: sha256 {right}; pinned is {'0' * 64}"
    ]


def test_a_file_of_an_option_that_is_not_chosen_may_be_missing(home: Path, cli: Callable[..., Any]) -> None:
    (home / "winogrande_1.1" / "train_xl.jsonl").unlink()
    assert cli("data", "verify", home, "winogrande").exit_code == 1
    outcome = cli("data", "verify", home, "winogrande:size=s")
    assert outcome.exit_code == 0, outcome.output
    assert "  missing          winogrande_1.1/train_xl.jsonl" in outcome.stdout


def test_a_task_that_raises_an_unexpected_error_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    def failing(self: Csqa, part: str) -> list[Any]:
        return [1 // 0]

    monkeypatch.setattr(Csqa, "data", failing)
    outcome = cli("data", "verify", home, "csqa")
    assert outcome.exit_code == 1
    assert "smc-eval:Csqa failed: ZeroDivisionError" in outcome.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("verify", "nowhere"), "there is no data directory 'nowhere'"),
        (("verify", ".", "csq"), "no task or group is named 'csq'; did you mean 'csqa'?"),
        (("list", "csqa:colour=red"), "no option of task 'csqa' is named 'colour'"),
        (("list", "csqa:folder=x"), "'folder' is not an option of task 'csqa'"),
        (("fetch", "csqa"), "missing option '--data-dir'"),
        (("fetch", "csqa", "--data-dir", "hub"), "'hub' is not a folder to write files to"),
        (("fetch",), "missing argument 'TASKS"),
        (("lst",), "no such command 'lst'"),
    ],
)
def test_a_wrong_command_line_gives_at_most_three_lines(
    words: tuple[str, ...],
    message: str,
    cli: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli("data", *words)
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def serve_csqa(web: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The synthetic CommonsenseQA on the web server, with pinned checksums."""
    files = {
        path.name: path.read_bytes()
        for path in (synthetic_folder("commonsenseqa") / "commonsenseqa").iterdir()
    }
    web.files.update(files)
    pinned = tuple(
        DataFile(f"commonsenseqa/{name}", "MIT", web.address(name), hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    )
    monkeypatch.setattr(Csqa, "data_files", lambda self: pinned)
    return files


def test_fetched_data_is_complete_and_can_be_read(
    web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    serve_csqa(web, monkeypatch)
    monkeypatch.setenv("SMC_EVAL_DATA", str(tmp_path / "data"))
    outcome = cli("data", "fetch", "csqa")
    assert outcome.exit_code == 0, outcome.output
    assert "commonsenseqa/dev_rand_split.jsonl: done" in outcome.stdout
    assert cli("data", "verify", tmp_path / "data", "csqa").exit_code == 0
    assert Csqa(folder=str(tmp_path / "data")).data("test") == Csqa().data("test")


def test_files_that_must_be_downloaded_by_hand_are_listed_with_exit_code_1(
    web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    serve_csqa(web, monkeypatch)
    outcome = cli("data", "fetch", "csqa", "hp-s2c2", "meltome", "--data-dir", tmp_path)
    assert outcome.exit_code == 1
    assert "commonsenseqa/dev_rand_split.jsonl: done" in outcome.stdout
    lines = outcome.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("hotprotein/s2c2/: no address is pinned; ")
    assert "https://github.com/VITA-Group/HotProtein" in lines[0]


def test_a_file_missing_on_the_server_is_reported_and_earlier_files_are_kept(
    web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    first, second = serve_csqa(web, monkeypatch)
    del web.files[second]
    outcome = cli("data", "fetch", "csqa", "--data-dir", tmp_path)
    assert outcome.exit_code == 1  # the command line is right
    assert outcome.stderr.startswith(f"error: {web.address(second)} answers 404 Not Found")
    assert (tmp_path / "commonsenseqa" / first).is_file()


def test_real_word_problems_are_complete(data_dir: Path, cli: Callable[..., Any]) -> None:
    outcome = cli("data", "verify", data_dir, "mawps/gts")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.count("train 1537, test 384\n") == 5
