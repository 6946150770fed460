"""The verb report: the table again, from records alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")


@pytest.mark.parametrize("words", [("nowhere",), (".",)])
def test_a_folder_without_records_is_refused_by_name(invoke, refused, words: tuple[str, ...]) -> None:
    assert f"{words[0]!r} holds no results.jsonl" in refused(invoke("report", *words))


def test_a_report_joins_folders(invoke) -> None:
    invoke(*TERMS, "--quiet", "--output", "one")
    invoke(*TERMS, "--quiet", "--output", "two", "--seeds", "1,")
    records = json.loads(invoke("report", "one", "two", "--json", "-").stdout)["results"]
    assert sorted((r["method"], r["seed"]) for r in records) == [
        ("dense", 0), ("dense", 1), ("omp-after", 0), ("omp-after", 1)
    ]  # fmt: skip


def test_broken_records_are_named_in_a_warning(invoke, stores, record) -> None:
    stores.add("runs", record())
    with Path("runs/results.jsonl").open("a") as file:
        file.write("{}\n")
    ended = invoke("report", "runs")
    assert ended.exit_code == 0
    assert "warning: runs/results.jsonl: skipped line 2 (cut short or altered)\n" in ended.stderr


@pytest.mark.parametrize("flag", ["--html", "--figures"])
@pytest.mark.parametrize("module", ["jinja2", "vl_convert"])
def test_a_report_without_the_extra_says_so_before_it_prints_the_table(
    invoke, stores, record, monkeypatch: pytest.MonkeyPatch, flag: str, module: str
) -> None:
    stores.add("runs", record())
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    ended = invoke("report", "runs", flag, "out")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"error: --html and --figures need {module}, which is not installed; pip install 'smc-eval[page]'\n"
    )
    assert not Path("out").exists()
    assert invoke("report", "runs").exit_code == 0
