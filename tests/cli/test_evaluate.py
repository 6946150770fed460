"""evaluate and load: the command's cells, store and records, from Python."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

import smc_eval
from smc_eval.errors import UnknownName, UsageError
from smc_eval.store.records import RECORDS_NAME

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after,snip", "--sparsity", "0.5,0.8")
FLAGS = {"model": "tiny", "tasks": ["terms"], "method": ["omp-after", "snip"], "sparsity": [0.5, 0.8]}


def test_evaluate_gives_the_records_of_the_command(invoke) -> None:
    ended = invoke(*TERMS, "--seeds", "2", "--json", "-", "--quiet", "--output", "command")
    wanted = json.loads(ended.stdout)["results"]
    results = smc_eval.evaluate(**FLAGS, seeds=2, output="python", progress=False)
    assert [record.digest for record in results.records] == [record["digest"] for record in wanted]
    scores = [record.score.value for record in results.records if record.score]
    assert scores == [record["score"]["value"] for record in wanted]
    masks = [record.certificate.mask_digest for record in results.records if record.certificate]
    assert masks == [record["certificate"]["mask_digest"] for record in wanted]
    assert len(results) == 10
    assert not results.failed


def test_the_command_continues_what_evaluate_began(invoke) -> None:
    results = smc_eval.evaluate(**FLAGS, progress=False)
    ended = invoke(*TERMS, "--json", "-", "--quiet")
    assert [record["cost"] for record in json.loads(ended.stdout)["results"]] == [
        record.to_json()["cost"] for record in results.records
    ]  # with seconds, so nothing ran again


def test_progress_has_the_time_left_for_the_grid(invoke, capsys) -> None:
    smc_eval.evaluate(**FLAGS)
    shown = capsys.readouterr().err.splitlines()
    assert [line.endswith("; grid: about 0:00:00 left") for line in shown if " in 0:00:" in line][-1]
    assert all("; grid: about " in line for line in shown if " in 0:00:" in line)


def test_results_are_a_table_a_frame_and_a_comparison(invoke) -> None:
    results = smc_eval.evaluate(**FLAGS, seeds=[0, 1], progress=False)
    printed = invoke("report", "smc-eval-runs").stdout
    assert str(results.table()) == printed
    assert repr(results) == printed
    assert results.table()._repr_html_() == f"<pre>{printed}</pre>"
    frame = results.frame()
    assert len(frame) == 10
    assert frame.query("method == 'snip' and sparsity == 0.8").seed.tolist() == [0, 1]
    comparison = results.compare("snip", "omp-after")
    assert [pair.level for pair in comparison.pairs] == ["0.5", "0.8"]
    with pytest.raises(UsageError, match="a method is 1 .int.; wanted a text"):
        results.compare(1, "snip")
    assert repr(comparison) == invoke("compare", "snip", "omp-after", "smc-eval-runs").stdout


def test_load_reads_stores_and_warns_of_broken_lines(invoke) -> None:
    smc_eval.evaluate(**FLAGS, progress=False)
    assert len(smc_eval.load("smc-eval-runs").frame()) == 5
    path = Path("smc-eval-runs", RECORDS_NAME)
    path.write_text(path.read_text().replace("steps", "stops", 1))
    with pytest.warns(UserWarning, match="skipped"):
        assert len(smc_eval.load("smc-eval-runs")) == 4
    with pytest.raises(UsageError, match="holds no results.jsonl"):
        smc_eval.load("nowhere")
    with pytest.raises(UsageError, match="there are no records in no folder"):
        smc_eval.load()
    with pytest.raises(UsageError, match="a folder is 3 .int.; wanted a path"):
        smc_eval.load(3)


def test_flags_can_have_any_plain_form(invoke) -> None:
    first = smc_eval.evaluate(**FLAGS, recipe={"steps": 3, "lr": 0.01}, seeds=[1], progress=False)
    again = smc_eval.evaluate(
        model=("tiny",), tasks="terms", method="omp-after,snip", sparsity="0.5,0.8",
        recipe=["steps=3", "lr=0.01"], seeds="1,", progress=False,
    )  # fmt: skip
    assert [record.digest for record in first.records] == [record.digest for record in again.records]
    assert {record.seed for record in first.records} == {1}


def test_generators_and_threads_of_the_caller_are_as_before(invoke) -> None:
    torch.manual_seed(5)
    wanted, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(5)
    with warnings.catch_warnings():
        smc_eval.evaluate(**FLAGS, progress=False)
    assert torch.equal(torch.rand(1), wanted)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("flags", "kind", "words"),
    [
        ({"methods": "snip"}, UnknownName, "no flag of evaluate is named 'methods'; did you mean 'method'"),
        ({"tasks": "term"}, UnknownName, "did you mean"),
        ({"tasks": "terms", "sparsity": object()}, UsageError, "wanted a text, a number or a list"),
        ({"tasks": "terms", "device": ["cpu", "cuda"]}, UsageError, "wanted one value"),
        ({"tasks": "terms", "find": "s@95"}, UsageError, "does not search sparsities"),
        ({}, UsageError, "--tasks"),
    ],
)
def test_wrong_flags_are_refused(invoke, flags: dict, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as error:
        smc_eval.evaluate(progress=False, **flags)
    assert words in str(error.value)
    assert not Path("smc-eval-runs").exists()
