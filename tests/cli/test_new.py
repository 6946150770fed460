"""The verb `new`: packages that work as they are written, and names that are refused before anything is."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import smc_eval
from smc_eval.cli.scaffold import package_files as scaffold
from smc_eval.cli.scaffold.package_files import PLUGIN_KINDS, package_files, write_package
from smc_eval.cli.scaffold.plugin_name import MOST_CHARACTERS, PluginName
from smc_eval.registry import Registry

EMPTY_PLUGIN = "from smc_eval import hookimpl\n@hookimpl\ndef smc_eval_tasks():\n    return []\n"
LONG = "a-very-long-name-for-a-plugin"
FILES = [
    ".github/workflows/tests.yml",
    ".gitignore",
    "README.md",
    "pyproject.toml",
    "smc_eval_row_norm.py",
    "tests/test_contract.py",
]


def files_in(folder: Path) -> list[str]:
    """All files but those that Python itself writes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sorted(str(path.relative_to(folder)) for path in files)


@pytest.mark.parametrize("kind", PLUGIN_KINDS)
def test_a_package_has_all_its_files_and_says_what_comes_next(invoke, tmp_path: Path, kind: str) -> None:
    made = invoke("new", kind, "row-norm")
    assert made.exit_code == 0, made.output
    assert files_in(tmp_path / "smc-eval-row-norm") == FILES
    assert "  cd smc-eval-row-norm\n  pip install -e '.[dev]'\n  smc-eval check row-norm\n" in made.stdout
    flag = "--tasks row-norm" if kind == "task" else "--method row-norm"
    assert flag in made.stdout and flag in (tmp_path / "smc-eval-row-norm" / "README.md").read_text()


def test_the_prefix_of_packages_may_be_typed_too(invoke, tmp_path: Path) -> None:
    assert invoke("new", "method", "smc-eval-row-norm").exit_code == 0
    assert (tmp_path / "smc-eval-row-norm" / "smc_eval_row_norm.py").is_file()


@pytest.mark.parametrize("kind", PLUGIN_KINDS)
def test_a_package_names_its_entry_point_and_the_release_it_needs(kind: Any) -> None:
    project = tomllib.loads(package_files(kind, PluginName("row-norm"))["pyproject.toml"])["project"]
    assert project["name"] == "smc-eval-row-norm" and "license" not in project
    assert project["entry-points"] == {"smc_eval": {"row-norm": "smc_eval_row_norm"}}
    assert project["dependencies"] == [f"smc-eval>={smc_eval.__version__.removesuffix('.0')}"]


@pytest.mark.parametrize("name", ["q", "row-norm", LONG, "x" * MOST_CHARACTERS])
def test_style_and_layout_are_right_whatever_the_length_of_the_name(tmp_path: Path, name: str) -> None:
    pytest.importorskip("ruff")
    for kind in PLUGIN_KINDS:
        folder = tmp_path / kind
        folder.mkdir()
        package = write_package(kind, PluginName(name), folder)
        for words in (["check"], ["format", "--diff"]):
            ran = subprocess.run(
                [sys.executable, "-m", "ruff", *words, "--no-cache"],
                cwd=package, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stdout + ran.stderr


def written(folder: Path) -> list[Path]:
    """A package of each kind."""
    return [write_package(kind, PluginName(f"my-{kind}"), folder) for kind in PLUGIN_KINDS]


def installed(packages: Sequence[Path], site: Path) -> list[Path]:
    """Folders for the path, from which the packages can be imported and are found as plugins.

    pip installs them where their build backend is at hand, as in `tox -e plugins`. Elsewhere their metadata
    is written as pip would write it.
    """
    if find_spec("hatchling"):
        options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site))
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *map(str, packages)], check=True)
        return [site]
    for package in packages:
        project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True)
        meta = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(meta)
        lines = [f"{name} = {module}\n" for name, module in project["entry-points"]["smc_eval"].items()]
        (info / "entry_points.txt").write_text("".join(["[smc_eval]\n", *lines]))
    return [*packages, site]


@pytest.mark.slow
def test_the_tests_of_a_package_pass_as_they_are_written(root: Path, tmp_path: Path) -> None:
    packages = written(tmp_path)
    path = os.pathsep.join(map(str, [*installed(packages, tmp_path / "site"), root]))
    for package in packages:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q"],
            cwd=package, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert re.search(r"^(1[5-9]|[2-9]\d) passed", ran.stdout.splitlines()[-1]), ran.stdout


@pytest.mark.slow
def test_the_types_of_a_package_are_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    for package in written(tmp_path):
        ran = subprocess.run(
            [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache")],
            cwd=package, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "cannot be that of a package"),
        ("RowNorm", "lower-case letters a-z, digits and single dashes, with a letter first; try 'row-norm'"),
        ("row_norm", "try 'row-norm'"),
        ("row norm", "try 'row-norm'"),
        ("row--norm", "try 'row-norm'"),
        ("-row", "no such option"),
        ("2-bits", "with a letter first\n"),
        ("naïve", "try 'na-ve'"),
        ("剪枝", "with a letter first\n"),
        ("row.norm", "try 'row-norm'"),
        ("row\nnorm", "try 'row-norm'"),
        ("x" * 31, "has 31 characters; wanted 30 at most"),
        ("/tmp/row-norm", "is a path; give the name alone, and its folder with --to DIR"),
        ("../row-norm", "is a path"),
        ("plugins\\row", "is a path"),
        ("class", "is a keyword of Python"),
        ("match", "is a keyword of Python"),
        ("json", "is that of a module of Python itself"),
        ("train", "would make a class 'Train', which smc_eval has already"),
        ("value-error", "would make a class 'ValueError', which Python has already"),
        ("lth", "is that of an installed method"),
        ("sums", "is that of a group of tasks"),
        ("pruned", "is that of an installed task"),
        ("all", "is that of"),
        ("tiny", "is that of a net that is built without a checkpoint"),
        ("paper", "is that of a protocol"),
        ("adamw", "is that of an installed optimizer"),
        ("toys", "is that of an installed plugin"),
        ("smc-eval-lth", "the name 'lth' is that of an installed method"),
    ],
)  # fmt: skip
def test_a_name_is_refused_before_anything_is_written(
    invoke, refused, tmp_path: Path, name: str, fault: str
) -> None:
    before = files_in(tmp_path)
    message = refused(invoke("new", "method", name))
    assert fault.replace("\n", "") in message.replace("\n", "")
    assert files_in(tmp_path) == before


def test_the_name_of_an_installed_package_is_refused(invoke, install, refused) -> None:
    install("smc-eval-mine", EMPTY_PLUGIN)
    message = refused(invoke("new", "task", "mine"))
    assert "the package smc-eval-mine 3.1 is installed" in message
    assert "pip uninstall smc-eval-mine" in message


def test_the_name_of_a_module_that_can_be_imported_is_refused(
    invoke, refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smc_eval_mine.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert "a module 'smc_eval_mine' can be imported here already" in refused(invoke("new", "task", "mine"))


def test_an_unknown_kind_is_refused_with_the_known_ones(invoke, refused) -> None:
    message = refused(invoke("new", "metod", "row-norm"))
    assert message.startswith("error: no kind of plugin is named 'metod'; did you mean 'method'?")
    assert "known: method, task, updater" in message


@pytest.mark.parametrize("form", ["file", "folder", "link"])
def test_what_exists_stays_as_it_is(invoke, refused, tmp_path: Path, form: str) -> None:
    place = tmp_path / "smc-eval-row-norm"
    match form:
        case "file":
            place.write_text("mine")
        case "folder":
            place.mkdir()
        case "link":
            place.symlink_to("nowhere")
    before = sorted(tmp_path.iterdir())
    message = refused(invoke("new", "method", "row-norm"))
    assert "'smc-eval-row-norm' exists already, and nothing was written" in message
    assert sorted(tmp_path.iterdir()) == before and (form == "file") == place.is_file()


@pytest.mark.parametrize(
    ("to", "fault"),
    [
        ("missing/folder", "there is no folder 'missing/folder' to write into; create it first"),
        ("toys.txt", "there is no folder 'toys.txt'"),
        ("x" * 5000, "there is no folder"),
        ("a\0b", "there is no folder"),
        ("/proc", "cannot write into '/proc': "),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(
    invoke, refused, tmp_path: Path, to: str, fault: str
) -> None:
    if to == "/proc" and not Path(to).is_dir():
        pytest.skip("this system has no /proc")
    (tmp_path / "toys.txt").write_text("")
    before = files_in(tmp_path)
    assert fault in refused(invoke("new", "method", "row-norm", "--to", to))
    assert files_in(tmp_path) == before


def fails_at_third_file(error: BaseException) -> Any:
    count = iter(range(100))

    def write(path: Path, content: bytes) -> None:
        if next(count) == 2:
            raise error
        path.write_bytes(content)

    return write


def test_a_full_disk_leaves_nothing_behind(
    invoke, refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(scaffold, "write_synced", fails_at_third_file(full))
    before = sorted(tmp_path.iterdir())
    assert "cannot write into '.': No space left on device" in refused(invoke("new", "method", "row-norm"))
    assert sorted(tmp_path.iterdir()) == before


def test_ctrl_c_leaves_nothing_behind(invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaffold, "write_synced", fails_at_third_file(KeyboardInterrupt()))
    before = sorted(tmp_path.iterdir())
    ended = invoke("new", "method", "row-norm")
    assert ended.exit_code == 130 and ended.stderr == "interrupted\n"
    assert sorted(tmp_path.iterdir()) == before


def test_a_broken_plugin_does_not_stop_a_new_one(invoke, install, tmp_path: Path) -> None:
    install("broken", "raise RuntimeError('broken')\n")
    assert invoke("new", "method", "row-norm").exit_code == 0
    assert (tmp_path / "smc-eval-row-norm").is_dir()


def test_names_follow_from_each_other() -> None:
    name = PluginName.checked("row-norm-2", Registry())
    assert (name.package, name.module, name.class_name) == (
        "smc-eval-row-norm-2", "smc_eval_row_norm_2", "RowNorm2"
    )  # fmt: skip
