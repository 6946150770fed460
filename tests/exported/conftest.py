"""The program with its own tasks, in an empty folder, and one run with its export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smc_eval.cli import app, run

Invoke = Callable[..., Any]
CELL = ("--tasks", "csqa", "--limit", "16", "--recipe", "steps=2", "--quiet", "--no-dense")


def invoked(*words: object) -> Any:
    """The program with these arguments, in this process."""
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs the program with these arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(run, "ISOLATED", False)  # a worker process takes seconds to start
    return invoked


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with omp-before of csqa at two sparsities; no net of it was kept."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "ISOLATED", False)
        words = ("--model", "tiny", "--method", "omp-before", "--sparsity", "0.5,0.9", "--keep", "results")
        assert invoked(*words, *CELL, "--output", folder).exit_code == 0
    return folder
