"""What is published: the files of the wheel, the metadata, and the citation."""

from __future__ import annotations

import tomllib
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
import yaml

import smc_eval


@pytest.fixture
def project(root: Path) -> dict[str, Any]:
    """The table [project]."""
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


@pytest.fixture
def wheel_files() -> set[str]:
    """The files that the installed wheel brought. Skipped for an editable installation, which brings none."""
    names = {str(path) for path in files("smc-eval") or ()}
    if "smc_eval/__init__.py" not in names:
        pytest.skip("smc-eval is installed as editable: no wheel")
    return names


def test_the_wheel_has_data_files_types_and_licence_and_no_tests(wheel_files: set[str]) -> None:
    own = {name for name in wheel_files if not name.startswith("..") and "__pycache__" not in name}
    assert {name.partition("/")[0] for name in own} == {
        "smc_eval",
        f"smc_eval-{smc_eval.__version__}.dist-info",
    }
    assert not [name for name in own if "/tests/" in name or ("test_" in name and name.endswith(".py"))]
    assert own >= {
        "smc_eval/py.typed",
        "smc_eval/grids/smc-bench.toml",
        "smc_eval/cli/scaffold/templates/method.py.template",
        "smc_eval/cli/scaffold/templates/gitignore.template",
        "smc_eval/reporting/html/templates/page.html",
        f"smc_eval-{smc_eval.__version__}.dist-info/licenses/LICENSE",
    }


def test_every_file_of_the_package_is_in_the_wheel(wheel_files: set[str], root: Path) -> None:
    kept = [
        path for path in (root / "smc_eval").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert len(kept) > 300
    assert {str(path.relative_to(root)) for path in kept} <= wheel_files


def test_a_version_of_python_is_claimed_only_if_the_tests_ran_on_it(
    project: dict[str, Any], root: Path
) -> None:
    prefix = "Programming Language :: Python :: 3."
    claimed = {line.removeprefix(prefix) for line in project["classifiers"] if line.startswith(prefix)}
    limits = (root / "docs" / "limits.md").read_text(encoding="utf-8")
    (line,) = (line for line in limits.splitlines() if "the tests ran on" in line and "Python" in line)
    ran = line.partition("the tests ran on ")[2]
    assert claimed and all(f"3.{minor}" in ran for minor in claimed)


def test_the_citation_is_of_this_release(project: dict[str, Any], root: Path) -> None:
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["title"]
    assert str(citation["version"]) == smc_eval.__version__
    assert citation["license"] == project["license"]
    assert citation["repository-code"] == project["urls"]["Repository"]
    assert [author["name"] for author in citation["authors"]] == [one["name"] for one in project["authors"]]
    assert citation["keywords"] == project["keywords"]


def test_all_addresses_of_the_project_are_in_one_repository(project: dict[str, Any]) -> None:
    repository = project["urls"]["Repository"]
    assert {"Changelog", "Documentation", "Issues"} <= project["urls"].keys()
    assert all(address.startswith(repository) for address in project["urls"].values())
