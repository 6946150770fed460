"""The record: typed, and equal to its JSON; the JSON has a schema."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import jsonschema
import pytest

from smc_eval.experiment.budget import Budget
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.store.record import Record
from smc_eval.store.record_schema import record_schema
from smc_eval.store.records import RecordsFile
from smc_eval.target import Target
from smc_eval.testing import chain_of, record_with, run_chain

FAILED = record_with(status="failed", reason="a\nb", score=None, sparsity=None, certificate=None, cost=None)
MATCHED = replace(record_with(), match=Budget(measure="flops", factor=2.0))
CHOSEN = record_with(target={"include": ["*.query"], "exclude": ["re:.*1"]}, cost={"parts": 2}, fold=3)
PATHS = record_with(
    certificate={"effective": 0.6, "effective_tensors": {"a": 0.6}, "dead_units": {"a": [1, 2]}}
)
FACTS = record_with(
    data={
        "repeats": {"in_train": 3, "in_test": 1},
        "left_out": {"train": 2, "test": 0},
        "unknown_tokens": {"zh": 0.01},
    },
    score={"ceiling": {"en-zh": 66.0}},
)
LOADED = record_with(checkpoint={"unused": ["lm_head.bias"], "tied": {"a": "b"}, "untied": {"c": "d"}})
RECORDS = pytest.mark.parametrize("record", [record_with(), FAILED, MATCHED, CHOSEN, PATHS, FACTS, LOADED])


@RECORDS
def test_a_record_equals_what_is_read_of_its_json(record: Record) -> None:
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


@RECORDS
def test_a_line_of_the_file_fits_the_schema(record: Record, tmp_path: Path) -> None:
    RecordsFile(tmp_path).add(record)
    line = json.loads((tmp_path / "results.jsonl").read_text(encoding="utf-8"))
    jsonschema.validate(line, record_schema())


def test_a_cell_that_ran_fits_the_schema(tmp_path: Path) -> None:
    record, _, _ = run_chain(chain_of(MagnitudeBefore(), Target(sparsity=0.5)), tmp_path)
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record
    jsonschema.validate({**record.to_json(), "schema": 2, "seal": "0"}, record_schema())


@pytest.mark.parametrize("change", [{"seed": "many"}, {"stray": 1}, {"score": {"metric": "x"}}])
def test_the_schema_and_the_reader_refuse_what_is_no_record(change: dict[str, object]) -> None:
    plain = {**record_with().to_json(), **change}
    with pytest.raises(ValueError, match=next(iter(change))):
        Record.from_json(plain)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plain, "schema": 2, "seal": "0"}, record_schema())


def test_the_schema_in_the_documents_is_the_one_of_the_types(root: Path) -> None:
    written = json.loads((root / "docs" / "record.schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(record_schema())), "write it again, from record_schema()"


def test_parts_that_a_failed_cell_lacks_are_empty_objects_and_its_score_is_null() -> None:
    plain = FAILED.to_json()
    assert [plain[name] for name in ("match", "sparsity", "certificate", "cost")] == [{}, {}, {}, {}]
    assert plain["score"] is None and not FAILED.sound and FAILED.dead_tensors == ()


def test_what_is_not_set_is_not_written() -> None:
    plain = record_with().to_json()
    assert not {"include", "exclude"} & plain["target"].keys() and "checkpoint" not in plain
    assert "parts" not in plain["cost"] and "effective_tensors" not in plain["certificate"]


def test_a_record_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        record_with().seed = 1  # type: ignore[misc]
