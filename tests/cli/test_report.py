"""The verb report: the table again, from records alone."""

from __future__ import annotations

import json
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


def test_broken_records_are_counted_in_a_warning(invoke, stores, record) -> None:
    stores.add("runs", record())
    with Path("runs/results.jsonl").open("a") as file:
        file.write("{}\n")
    ended = invoke("report", "runs")
    assert ended.exit_code == 0
    assert "warning: skipped 1 broken record in runs/results.jsonl" in ended.stderr
