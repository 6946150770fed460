"""Sparsity searches with --find: their output, their plan, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FIND = ("--tasks", "terms", "--method", "omp-after,from-checkpoint", "--find", "s@95:within=0.2,runs=3")


def test_a_search_prints_its_bracket_and_the_same_command_repeats_it(invoke) -> None:
    ended = invoke(*FIND, "--seeds", "2", "--json", "out.json")
    assert ended.exit_code == 0, ended.output
    head, _, row, *_ = ended.stdout.splitlines()
    assert head.split() == ["task", "model", "method", "s@95", "bracket", "dense", "tried", "cells"]
    assert row.split()[:3] == ["terms/gts", "tiny", "omp-after"]
    assert "note: method 'from-checkpoint' takes custom masks, and is not searched" in ended.stderr
    content = json.loads(Path("out.json").read_text())
    (search,) = content["found"]
    assert search["tried"][0]["sparsity"] == 0.9025
    assert (search["cells"], len(content["results"])) == (2 * len(search["tried"]), 2 + search["cells"])
    records = Path("smc-eval-runs/results.jsonl").read_bytes()
    again = invoke(*FIND, "--seeds", "2", "--quiet", "--format", "json")
    assert json.loads(again.stdout) == content
    assert Path("smc-eval-runs/results.jsonl").read_bytes() == records


def test_the_plan_of_a_search_has_the_largest_number_of_cells(invoke) -> None:
    shown = invoke("plan", *FIND, "--seeds", "2").stdout.splitlines()
    assert [line.split("→")[-1].strip() for line in shown[1:3]] == ["dense", "omp-after 0.9025"]
    assert shown[3] == (
        "--find s@95 starts with these cells and runs at most 8, with at most 3 sparsities for each search"
    )
    assert json.loads(invoke("plan", *FIND, "--seeds", "2", "--json").stdout)["find_cells_at_most"] == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--no-dense",), "--find compares with the dense net; leave out --no-dense"),
        (("--format", "csv"), "--find is printed as table or json, not as csv"),
        (("--method", "dense"), "--find has no method to search: name one"),
        (
            ("--method", "from-checkpoint"),
            "--find has no method to search: method 'from-checkpoint' takes custom masks",
        ),
    ],
)
def test_an_impossible_search_is_refused(invoke, refused, words: tuple[str, ...], message: str) -> None:
    method = () if "--method" in words else ("--method", "omp-after")
    assert message in refused(invoke("--tasks", "terms", "--find", "s@95", *method, *words))
    assert not list(Path().glob("**/results.jsonl"))
