"""The verb plan, asked for numbers of workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TOY = ("--tasks", "toy", "--model", "tiny", "--recipe", "steps=10")
WORDS = ("plan", *TOY, "--method", "omp-after", "--sparsity", "0.2,0.5,0.8")


@pytest.fixture
def rates(shop: Any) -> Path:
    """A minute a step."""
    path = Path(shop.folder / "rates.toml")
    path.write_text("[[rate]]\nseconds = 60\n")
    return path


def test_workers_have_a_makespan_a_utilisation_and_a_critical_path(say: Any, rates: Path) -> None:
    shown = say(*WORDS, "--quiet", "--rates", rates, "--workers", "1,3,64").stdout.splitlines()
    # the dense 10 minutes, then three times 10 side by side; alone 10, 20, 20 and 20
    assert [line.split() for line in shown[-4:-1]] == [
        ["1", "40", "min", "100.0%", "70", "min"],
        ["3", "20", "min", "66.7%", "30", "min"],
        ["64", "20", "min", "3.1%", "20", "min"],
    ]
    assert shown[-5].split() == ["workers", "makespan", "utilisation", "without", "sharing"]
    last = "critical path: 20 min, which no number of workers undercuts (toy omp-after 0.2 seed 0)"
    assert shown[-1] == last


def test_workers_are_told_as_json(say: Any, rates: Path) -> None:
    told = json.loads(say(*WORDS, "--json", "--rates", rates, "--workers", "3").stdout)["makespans"]
    assert told == {
        "critical_path": {"seconds": 1200.0, "cell": "toy omp-after 0.2 seed 0"},
        "workers": [
            {"workers": 3, "makespan": 1200.0, "utilisation": pytest.approx(2 / 3), "makespan_naive": 1800.0}
        ],
    }
    assert json.loads(say(*WORDS, "--json", "--rates", rates).stdout)["makespans"] is None


def test_without_rates_no_makespan_is_made_up(say: Any) -> None:
    shown = say(*WORDS, "--workers", "8").stdout.splitlines()
    assert shown[-1] == "unknown makespan: it takes the rates of all that is to be paid"
    assert json.loads(say(*WORDS, "--workers", "8", "--json").stdout)["makespans"] is None


@pytest.mark.parametrize(
    ("number", "told"),
    [
        ("many", "error: --workers 'many' cannot be read; write a number such as 64, or several"),
        ("8,-1", "error: --workers '8,-1' cannot be read"),
        ("8,0", "error: --workers '8,0' has nobody at work; write numbers of 1 or more"),
    ],
)
def test_workers_that_are_no_number_are_told(say: Any, number: str, told: str) -> None:
    ended = say(*WORDS, "--workers", number)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(told)
