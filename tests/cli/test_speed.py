"""The verb speed: times of pruned nets, kept in the store and shown by reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5,0.8")
SHORT = ("--examples", "4", "--pairs", "2", "--quiet")


def test_every_pruned_cell_of_a_store_is_timed_and_reports_show_it(invoke) -> None:
    invoke(*TERMS, "--keep", "final", "--quiet")
    ended = invoke("speed", "smc-eval-runs", *SHORT)
    assert ended.exit_code == 0, ended.output
    assert "omp-after 0.5" in ended.stdout
    assert "omp-after 0.8" in ended.stdout
    assert "dense 0 " not in ended.stdout
    assert "2:4: a cpu device has no 2:4 kernel in torch" in ended.stdout
    assert "median of 2 pairs of passes over 4 examples; cpu" in ended.stdout
    assert len([*Path("smc-eval-runs", "speeds").iterdir()]) == 2
    page = invoke("report", "smc-eval-runs", "--html", "page.html")
    assert page.exit_code == 0, page.output
    text = Path("page.html").read_text()
    assert "Measured speed" in text
    assert re.search(r"\d\.\d\d \((csr|tiles|cut)\)", text)


def test_one_cell_is_timed_as_json(invoke) -> None:
    invoke(*TERMS, "--quiet")  # its net is not kept, and is computed again
    ended = invoke("speed", "smc-eval-runs", "omp-after@0.8", *SHORT, "--json", "--threads", "1")
    assert ended.exit_code == 0, ended.output
    (cell,) = json.loads(ended.stdout)
    assert "omp-after 0.8" in cell["cell"]
    assert {kernel["kernel"] for kernel in cell["kernels"]} >= {"csr", "tiles"}
    assert cell["machine"]["threads"] == 1


def test_what_cannot_be_timed_is_refused(invoke, refused) -> None:
    assert "is neither a store nor an exported net" in refused(invoke("speed", "nowhere"))
    invoke("--model", "tiny", "--tasks", "terms", "--quiet")
    assert "has no certified record of a pruned net" in refused(invoke("speed", "smc-eval-runs"))
    assert "snip" in refused(invoke("speed", "smc-eval-runs", "snip@0.5"))
