"""Bad values, files and stores: one to three lines, never a traceback and never a hang."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import smc_eval
from smc_eval.cli.grid_run import GRID_SCHEMA
from smc_eval.experiment.toml_file import LONGEST_TOML
from smc_eval.files.sealed_json import write_sealed_json
from smc_eval.spec import digest
from smc_eval.store.record import Record
from smc_eval.store.store import Store

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5", "--quiet")
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "flag", ["--output", "--model", "--data-dir", "--method", "--include", "--grid", "--match"]
)
@pytest.mark.parametrize("text", ["a" * 5000, DEEP, "\udcff", "~nobody-of-this-name", "a\0b", "\x1b[2J"])
def test_any_text_may_be_a_value(invoke, flag: str, text: str) -> None:
    ended = invoke("plan", *TERMS, flag, text)
    assert ended.exit_code in {0, 2}
    lines = ended.stderr.splitlines()
    assert len(lines) <= 3 and all(len(line) < 1100 for line in lines)
    assert ended.exit_code == 0 or ended.stderr.startswith("error: ")
    assert not {"\x1b", "\0"} & set(ended.output)


@pytest.mark.parametrize(
    "sparsity", ["nan", "inf", "-inf", "1e400", "9" * 5000, f"1:{'9' * 30}", "-1e-9", "1"]
)
def test_a_sparsity_outside_its_range_is_refused(invoke, refused, sparsity: str) -> None:
    assert refused(invoke("plan", *TERMS, "--sparsity", sparsity)).startswith("error: sparsity ")


@pytest.mark.parametrize("sparsity", ["0.9999999999", "0.99999999999999", "0.9999999999999999", "1e-320"])
def test_any_float_may_be_a_sparsity_and_every_report_shows_it(invoke, sparsity: str) -> None:
    ended = invoke(*TERMS, "--sparsity", f"0.5,{sparsity}", "--json", "out.json")
    assert ended.exit_code in {0, 1}
    records = json.loads(Path("out.json").read_text())["results"]
    outcomes = {r["target"]["sparsity"]: r["status"] for r in records if r["method"] == "omp-after"}
    assert outcomes == {0.5: "ok", float(sparsity): "failed" if float(sparsity) > 0.5 else "ok"}
    for words in ((), ("--curves",), ("--format", "csv"), ("--format", "latex"), ("--html", "page.html")):
        shown = invoke("report", "smc-eval-runs", *words)
        assert shown.exit_code == 0, shown.output
    column = "0" if sparsity == "1e-320" else sparsity
    assert column in invoke("report", "smc-eval-runs").stdout.splitlines()[0].split()


TOML = {
    "deep.toml": f"tasks = {DEEP}",
    "nested.toml": "recipe" + ".a" * 5000 + " = 1",
    "lists.toml": f"tasks = {'[' * 50}{']' * 50}",
    "long.toml": f'tasks = "{"a" * LONGEST_TOML}"',
    "number.toml": f"limit = {'9' * 5000}",
    "zero.toml": 'output = "a\\u0000b"',
    "date.toml": "limit = 1979-05-27",
    "bool.toml": "seeds = true",
    "table.toml": "[[tasks]]\na = 1",
    "key.toml": '"\\u001b[2J" = 1',
    "infinite.toml": "checkpoint_every = inf",
    "latin.toml": "tasks = 'é'",
}


@pytest.mark.parametrize("name", TOML)
def test_a_grid_file_and_rates_may_hold_anything(invoke, refused, name: str) -> None:
    Path(name).write_bytes(TOML[name].encode("latin-1"))
    refused(invoke("plan", "--grid", name))
    refused(invoke("plan", *TERMS, "--rates", name))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no file without an end here")
def test_a_file_without_an_end_is_refused(invoke, refused) -> None:
    message = refused(invoke("plan", *TERMS, "--rates", "/dev/zero"))
    assert "rates /dev/zero is longer than 1,048,576 bytes; is it another file?" in message


def test_an_infinite_speed_is_refused(invoke, refused) -> None:
    assert "it should be a finite number" in refused(invoke("plan", *TERMS, "--flops", "inf"))


JUNK = (
    b"[]",
    b"5",
    b"null",
    b'"x"',
    b'{"a": 1}',
    DEEP.encode(),
    b"",
    b"\xff",
    b'{"predicted": 5, "items": 5}',
)
ITEMS = {"kind": "mean", "rows": [[1.0]], "groups": []}
BAD_ITEMS: tuple[dict[str, Any], ...] = (
    {"kind": "other"},
    {"rows": 5},
    {"rows": [["x"]]},
    {"rows": [[1.0], [1.0, 2.0]]},
    {"rows": [[float("nan")]]},
    {"groups": ["a", "b"]},
)
WRITTEN = (
    {},
    {"predicted": 5, "items": 5},
    {"predicted": [1]},
    *({"predicted": [1], "items": ITEMS | bad} for bad in BAD_ITEMS),
)


@pytest.fixture
def store(invoke) -> Path:
    """A store with two cells."""
    assert invoke(*TERMS).exit_code == 0
    return Path("smc-eval-runs")


@pytest.mark.parametrize("content", WRITTEN)
def test_predictions_may_hold_anything_under_the_right_seal(invoke, store: Path, content: Any) -> None:
    for file in store.glob("predictions/*"):
        write_sealed_json(file, file.name.partition(".")[0], content)
    verified = invoke("store", store, "--verify")
    assert verified.exit_code == 1 and verified.stdout.count("broken: predictions/") == 2
    assert invoke("report", store, "--format", "csv", "--curves").exit_code == 0
    scored = invoke("score", store)
    assert scored.exit_code == 1 and "its predictions are missing or broken" in scored.stderr


@pytest.mark.parametrize("junk", JUNK)
def test_files_of_a_store_may_hold_anything(invoke, store: Path, junk: bytes) -> None:
    for file in store.glob("nets/*/meta.json"):
        file.write_bytes(junk)
    for file in [*store.glob("predictions/*"), *store.glob("mask_samples/*")]:
        file.write_bytes(gzip.compress(junk))
    verified = invoke("store", store, "--verify")
    assert verified.exit_code == 1 and verified.stdout.count("is cut short or altered") >= 4
    for words in (("report",), ("report", "--html", "page.html"), ("report", "--format", "csv", "--curves")):
        assert invoke(words[0], store, *words[1:]).exit_code == 0
    scored = invoke("score", store)
    assert scored.exit_code == 1 and "its predictions are missing or broken" in scored.stderr
    assert invoke("compare", "dense", "omp-after", store).exit_code in {0, 2}
    shutil.copy(store / "results.jsonl", "before.jsonl")
    (store / "results.jsonl").unlink()
    assert invoke(*TERMS).exit_code == 0  # computed again
    assert invoke("store", store, "--verify").exit_code == 0


@pytest.mark.parametrize("grid", JUNK)
def test_a_file_that_is_no_saved_grid_is_refused_by_name(invoke, refused, store: Path, grid: bytes) -> None:
    (store / "grid.json").write_bytes(grid)
    assert "grid.json is cut short or altered" in refused(invoke("work", "--output", store))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"config": 5, "cells": {}},
        {"config": {}, "cells": []},
        {"config": {"tasks": 5}, "cells": {}},
        {"config": {"task": ["terms"]}, "cells": {}},
        {"config": {"tasks": ["terms"]}, "cells": {"a": 5}},
        {"config": {"tasks": [DEEP]}, "cells": {}},
    ],
)
def test_a_sealed_grid_may_hold_anything(invoke, refused, store: Path, content: Any) -> None:
    Store(store).save_grid({"schema": GRID_SCHEMA, "release": smc_eval.__version__, **content})
    assert "cut short" not in refused(invoke("work", "--output", store))


def sealed(record: Record, path: str, value: object) -> str:
    """A line of a records file with one other value, under the right seal."""
    plain: dict[str, Any] = {"schema": 2, **record.to_json()}
    *parts, last = path.split(".")
    place = plain
    for part in parts:
        place = place[part]
    place[last] = value
    return json.dumps({**plain, "seal": digest(plain)})


WRONG = [
    ("target.sparsity", 1.5),
    ("target.sparsity", -0.1),
    ("target.sparsity", "x"),
    ("target.pattern", "x"),
    ("protocol", "x"),
    ("seed", -1),
    ("fold", 1.5),
    ("score.n", -1),
    ("cost.flops.train.dense", 10**400),
    ("cost.seconds.train", -1.0),
    ("sparsity.scope", 2.0),
    ("certificate.tensors", {"a": -1.0}),
    ("recipe.steps", -1),
]


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_a_record_with_an_impossible_value_is_broken_and_hides_no_other(
    invoke, stores, record, path: str, value: object
) -> None:
    stores.add("s", record("dense"))
    lines = [sealed(record(), path, value), '{"seal": NaN, "a": 1e999}', DEEP, '{"a":' * 5000]
    with Path("s/results.jsonl").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    for words in ((), ("--html", "page.html"), ("--format", "csv", "--curves"), ("--format", "json")):
        shown = invoke("report", "s", *words)
        assert shown.exit_code == 0 and "skipped line 2" in shown.stderr and "and 1 more" in shown.stderr
    assert "omp-after" not in invoke("report", "s").stdout


@pytest.mark.parametrize("sparsity", [1.0, 0.0, 1 - 1e-16, 5e-324])
def test_a_record_of_any_sparsity_is_shown(invoke, stores, record, sparsity: float) -> None:
    stores.add("s", record("dense"))
    stores.add("s", record(sparsity=sparsity))
    for words in ((), ("--html", "page.html"), ("--format", "csv", "--curves"), ("--format", "latex")):
        assert invoke("report", "s", *words).exit_code == 0
