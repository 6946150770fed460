"""The verb work: it starts or joins the grid of a store."""

from __future__ import annotations

import json
from pathlib import Path

from smc_eval.store.record import failed_record
from smc_eval.store.store import Store

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")
GRID = Path("smc-eval-runs/grid.json")


def test_work_joins_the_grid_of_a_run_and_prints_its_records(invoke, refused) -> None:
    assert "'smc-eval-runs' has no grid to join" in refused(invoke("work", "--quiet"))
    assert invoke(*TERMS, "--quiet").exit_code == 0
    records = invoke("report", "smc-eval-runs", "--json", "-").stdout
    ended = invoke("work", "--quiet", "--device", "cpu", "--json", "-")
    assert (ended.exit_code, ended.stdout) == (0, records)


def test_work_with_flags_starts_a_grid_and_others_join_it(invoke) -> None:
    for ended in (invoke("work", *TERMS, "--quiet"), invoke("work", "--quiet")):
        assert ended.exit_code == 0, ended.output
        assert "omp-after" in ended.stdout


def test_the_grid_of_a_store_has_the_configuration_and_the_cells(invoke) -> None:
    assert invoke(*TERMS, "--quiet", "--include", "down").exit_code == 0
    grid = json.loads(GRID.read_text())
    assert grid.keys() == {"schema", "release", "config", "cells", "seal"}
    assert grid["schema"] == 2
    assert grid["config"] == {
        "model": ["tiny"],
        "tasks": ["terms"],
        "method": ["omp-after"],
        "sparsity": ["0.5"],
        "include": ["down"],
    }
    assert list(grid["cells"].values()) == ["terms/gts dense 0 seed 0", "terms/gts omp-after 0.5 seed 0"]
    assert invoke("work", "--quiet").exit_code == 0


def test_only_a_worker_that_starts_the_grid_runs_failed_cells_again(invoke) -> None:
    assert invoke("work", *TERMS, "--quiet").exit_code == 0
    store = Store(Path("smc-eval-runs"))
    (digest,) = (d for d, record in store.records.latest().items() if record.method == "omp-after")
    store.records.add(failed_record(store.records.latest()[digest], "out of memory"))
    ended = invoke("work", "--quiet")
    assert ended.exit_code == 1 and "1 cell failed; start the grid again" in ended.stderr
    assert invoke("work", *TERMS, "--quiet").exit_code == 0


def test_work_refuses_to_start_if_cell_digests_differ(invoke, refused) -> None:
    assert invoke(*TERMS, "--quiet").exit_code == 0
    store = Store(Path("smc-eval-runs"))
    grid = store.saved_grid()
    (digest, label), *rest = grid["cells"].items()
    store.save_grid(grid | {"cells": {digest[::-1]: label, **dict(rest)}})
    message = refused(invoke("work", "--quiet"))
    assert "1 of 2 cells differ here" in message and "(first: terms/gts dense 0 seed 0)" in message


def test_work_refuses_the_grid_of_another_release_and_a_broken_one(invoke, refused) -> None:
    assert invoke(*TERMS, "--quiet").exit_code == 0
    store = Store(Path("smc-eval-runs"))
    grid = store.saved_grid()
    store.save_grid(grid | {"release": "0.0.1"})
    assert "release '0.0.1' of smc-eval started the grid" in refused(invoke("work", "--quiet"))
    store.save_grid(grid | {"schema": 1})
    assert "start the grid again" in refused(invoke("work", "--quiet"))
    for content in ("{", "[]", json.dumps(grid | {"seal": "0"})):
        GRID.write_text(content)
        assert "is cut short or altered; start the grid again" in refused(invoke("work", "--quiet"))


def test_work_refuses_a_search(invoke, refused) -> None:
    words = ("--tasks", "terms", "--method", "omp-after", "--find", "s@95")
    assert "use run --find --jobs N" in refused(invoke("work", *words))
