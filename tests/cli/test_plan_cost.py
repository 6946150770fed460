"""The verb plan with rates, operations and workers: hours and makespans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")
THREE = ("plan", *TERMS[:-2], "--sparsity", "0.2,0.5,0.8", "--recipe", "steps=10")


@pytest.fixture
def rates(invoke) -> Path:
    """A file of rates: one minute per step."""
    path = Path("rates.toml")
    path.write_text("[[rate]]\nseconds = 60\n")
    return path


def test_a_plan_gives_hours_by_the_given_rates(invoke) -> None:
    words = ("plan", "--model", "tiny", "--tasks", "maths", "--method", "omp-after", "--sparsity", "0.5")
    Path("rates.toml").write_text("[[rate]]\nseconds = 600.0\n\n[[rate]]\ntask = 'terms'\nseconds = 1800.0\n")
    shown = invoke(*words, "--quiet", "--rates", "rates.toml").stdout.splitlines()
    table = [line.split() for line in shown[2:4]]
    # two folds of 2 + 2 steps; without sharing each cell also trains its dense net
    assert table[0] == ["sums/gts", "tiny", "4", "8", "12", "?", "1.33", "2"]
    assert table[1] == ["terms/gts", "tiny", "2", "4", "6", "?", "2", "3"]
    assert shown[-1] == "about 3.3 h of training to run on a device of the given rate, 5.0 h without sharing"
    assert any(line.startswith("not known yet of 3 starts") for line in shown)
    assert len(shown) == 10  # no stages
    prices = json.loads(invoke(*words, "--rates", "rates.toml", "--json").stdout)["costs"]
    assert [price["seconds"] for price in prices] == [4800.0, 7200.0]


def test_a_plan_with_nothing_to_run_needs_no_rate(invoke) -> None:
    assert invoke(*TERMS, "--quiet").exit_code == 0
    shown = invoke("plan", *TERMS, "--flops", "1e12").stdout.splitlines()
    assert shown[-1] == "about 0 s of training to run on a device of the given rate"


def test_operations_need_a_model_of_known_size(invoke) -> None:
    ended = invoke("plan", *TERMS, "--flops", "1e12")
    last = ended.stdout.splitlines()[-1]
    assert last == "hours unknown: the given rates do not cover terms/gts with tiny"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[rates]]\nseconds = 1", "no key of rates r.toml is named 'rates'; did you mean 'rate'?"),
        ("rate = 3", "'rate' of rates r.toml is not a list of tables; begin each with [[rate]]"),
        ("[[rate]]\ntask = 'term'\nseconds = 1", "no task or group of rates r.toml is named 'term'"),
        ("[[rate]]\nsecond = 1", "no key of rate 1 of r.toml is named 'second'; did you mean 'seconds'?"),
        ("[[rate]]\nseconds = 1\nflops = 2", "rate 1 of r.toml: give a rate either seconds or flops"),
        ("[[rate]]\nseconds = -1", "key 'seconds' of rate 1 of r.toml is -1"),
        ("[[rate]", "rates r.toml is not a valid TOML file"),
    ],
)
def test_a_wrong_file_of_rates_is_refused(invoke, refused, content: str, message: str) -> None:
    Path("r.toml").write_text(content)
    assert message in refused(invoke("plan", *TERMS, "--rates", "r.toml"))


def test_a_missing_file_of_rates_is_refused(invoke, refused) -> None:
    message = refused(invoke("plan", *TERMS, "--rates", "none.toml"))
    assert "cannot read rates none.toml: No such file" in message


def test_workers_have_a_makespan_a_utilisation_and_a_critical_path(invoke, rates: Path) -> None:
    shown = invoke(*THREE, "--quiet", "--rates", rates, "--workers", "1,3,64").stdout.splitlines()
    # the dense 10 minutes, then three times 10 in parallel; without sharing 10, 20, 20 and 20
    assert [line.split() for line in shown[-4:-1]] == [
        ["1", "40", "min", "100.0%", "70", "min"],
        ["3", "20", "min", "66.7%", "30", "min"],
        ["64", "20", "min", "3.1%", "20", "min"],
    ]
    assert shown[-5].split() == ["workers", "makespan", "utilisation", "without", "sharing"]
    last = "critical path: 20 min, the least for any number of workers (terms/gts omp-after 0.2 seed 0)"
    assert shown[-1] == last


def test_makespans_are_in_the_json(invoke, rates: Path) -> None:
    content = json.loads(invoke(*THREE, "--json", "--rates", rates, "--workers", "3").stdout)
    assert content["makespans"] == {
        "critical_path": {"seconds": 1200.0, "cell": "terms/gts omp-after 0.2 seed 0"},
        "workers": [
            {
                "workers": 3,
                "makespan": 1200.0,
                "utilisation": pytest.approx(2 / 3),
                "makespan_without_sharing": 1800.0,
            }
        ],
    }
    assert json.loads(invoke(*THREE, "--json", "--rates", rates).stdout)["makespans"] is None


def test_without_rates_the_makespan_is_unknown(invoke) -> None:
    shown = invoke(*THREE, "--workers", "8").stdout.splitlines()
    assert shown[-1] == "makespan unknown: the hours of some task and model are unknown"
    assert json.loads(invoke(*THREE, "--workers", "8", "--json").stdout)["makespans"] is None


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("many", "error: --workers 'many' cannot be read; write a number such as 64, or several"),
        ("8,-1", "error: --workers '8,-1' cannot be read"),
        ("8,0", "error: --workers '8,0' has 0 workers; write numbers of 1 or more"),
    ],
)
def test_a_wrong_number_of_workers_is_refused(invoke, refused, number: str, message: str) -> None:
    assert refused(invoke(*THREE, "--workers", number)).startswith(message)
