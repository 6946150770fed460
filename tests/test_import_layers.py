"""The doors are light: words, plans and tables need no tensors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smc_eval.store.records import RecordsFile
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.testing import record_with

HEAVY = ("accelerate", "datasets", "scipy", "torch", "transformers")

OPEN = """
import sys
if sys.argv[1:]:
    from smc_eval.cli import main
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
else:
    import smc_eval
print("came in:", *sorted(set({heavy}) & sys.modules.keys()))
"""

WORDS = ("--model", "tiny", "--method", "omp-after", "--tasks", "all", "--sparsity", "0.5,2:4")


def opened(*words: str) -> str:
    """What came in, of what is heavy, when the command line was given these words."""
    code = OPEN.format(heavy=HEAVY)
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", HEAVY)
def test_the_check_sees_what_is_heavy(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {name}\n" + OPEN.format(heavy=HEAVY)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == f"came in: {name}"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--help",),
        ("run", "--help"),
        ("list",),
        ("list", "--json"),
        ("show", "omp-after"),
        ("data", "list"),
    ],
    ids=" ".join,
)
def test_the_door_is_light(words: tuple[str, ...]) -> None:
    assert opened(*words) == "came in:"


def test_real_data_is_looked_through_without_tensors() -> None:
    for name, task in (("mawps-asdiv-a_svamp", "svamp"), ("RACE", "race"), ("meltome", "meltome")):
        assert opened("data", "verify", str(synthetic_folder(name)), task) == "came in:"


def test_a_plan_is_light(tmp_path: Path) -> None:
    assert opened("plan", *WORDS, "--output", str(tmp_path)) == "came in:"


def test_the_papers_table_is_priced_without_tensors_models_or_data(tmp_path: Path) -> None:
    words = (
        "plan",
        "--grid",
        "smc-bench",
        "--quiet",
        "--tasks",
        "csqa,translation",
        "--output",
        str(tmp_path),
    )
    assert opened(*words) == "came in:"


def test_a_report_is_light(tmp_path: Path) -> None:
    RecordsFile(tmp_path).add(
        record_with(task="mawps/gts", group="mawps", fold=0, score={"metric": "value accuracy (%)"})
    )
    assert opened("report", str(tmp_path)) == "came in:"
    assert opened("report", str(tmp_path), "--curves") == "came in:"
    assert opened("report", str(tmp_path), "--html", str(tmp_path / "page.html")) == "came in:"


def test_the_programs_help_makes_no_task() -> None:
    code = OPEN.format(heavy=("smc_eval.tasks",))
    ran = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "came in:"
