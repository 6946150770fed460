"""The packages of this folder, installed from their pyproject.toml beside smc-eval, and the program."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smc_eval import registry
from smc_eval.cli import app, run
from smc_eval.registry import Registry

HERE = Path(__file__).parent
OWN = registry.installed

for place in sorted(HERE.glob("smc-eval-*")):  # as pip install --editable does
    sys.path.append(str(place))


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[EntryPoint]:
    """The entry points of smc-eval and of the packages of this folder."""
    site = tmp_path_factory.mktemp("site")
    for path in sorted(HERE.glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        meta = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(meta)
        lines = (f"{name} = {module}\n" for name, module in project["entry-points"]["smc_eval"].items())
        (info / "entry_points.txt").write_text("".join(["[smc_eval]\n", *lines]))
    theirs = [point for package in distributions(path=[str(site)]) for point in package.entry_points]
    return [*OWN(), *theirs]


@pytest.fixture
def installed(points: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry in which these packages are installed too."""
    monkeypatch.setattr(registry, "installed", lambda: points)
    return registry.load_registry().checked()


@pytest.fixture
def invoke(installed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the program with these arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(run, "ISOLATED", False)  # a worker process takes seconds to start
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
