"""The checker finds what is wrong in a store that was certified, and nothing in a good one."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzing import checker, stores
from fuzzing.world import World, forget_modules


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stores.MadeStore]:
    folder = tmp_path_factory.mktemp("checked") / "made"
    with pytest.MonkeyPatch.context() as patch:
        yield stores.MadeStore(World(folder, patch))
        forget_modules(folder)


@pytest.fixture
def store(made: stores.MadeStore, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "s"))


def test_a_good_store_has_no_fault(store: Path, made: stores.MadeStore) -> None:
    assert len(checker.good_records(store)) == 5
    assert list(checker.faults(store, made.nets)) == []


WRONG = [
    ("certificate.remaining", 1, "masks leave "),
    ("sparsity.scope", 0.1, "sparsity 0.1 of "),
    ("score.value", 150.0, "score 150.0 of 20 examples"),
    ("score.value", 50.5, "its items have mean"),
    ("certificate.dead_tensors", ["odd.weight"], "dead tensors are []"),
    ("certificate.tensors", {}, "the sparsity of down.weight is not that of its mask"),
    ("certificate.revived", 1, "weights under masks are not zero"),
    ("target.pattern", "2:4", "down.weight breaks the pattern 2:4"),
    ("target.scope", "all-2d", "scope all-2d has"),
    ("target.sparsity", 0.9, "wanted 65"),
]


@pytest.mark.parametrize(("path", "value", "fault"), WRONG)
def test_a_wrong_value_under_the_right_seal_is_found(
    store: Path, made: stores.MadeStore, path: str, value: Any, fault: str
) -> None:
    lines = []
    for line in (store / "results.jsonl").read_text().splitlines():
        record = json.loads(line)
        part, name = path.split(".")
        if record["method"] != "dense":
            record[part][name] = value
        del record["seal"]
        lines.append(json.dumps({**record, "seal": checker.seal(record)}) + "\n")
    (store / "results.jsonl").write_text("".join(lines))
    assert any(fault in found for found in checker.faults(store, made.nets)), fault


def test_a_value_under_a_mask_and_a_wrong_answer_are_found(store: Path, made: stores.MadeStore) -> None:
    from safetensors.numpy import load, save

    for folder in (store / "nets").iterdir():
        tensors = load((folder / "net.safetensors").read_bytes())
        content = save({name: weight * 0 + 1 for name, weight in tensors.items()})
        meta = json.loads((folder / "meta.json").read_text())
        meta["seals"]["net.safetensors"] = hashlib.sha256(content).hexdigest()
        (folder / "net.safetensors").write_bytes(content)
        (folder / "meta.json").write_text(json.dumps(meta))
    for path in (store / "predictions").iterdir():
        answers = json.loads(gzip.decompress(path.read_bytes()))
        del answers["seal"]
        answers |= {"predicted": [-1] * 20, "items": None}
        seal = hashlib.sha256(json.dumps(answers).encode()).hexdigest()
        path.write_bytes(gzip.compress(json.dumps(answers | {"seal": seal}).encode()))
    found = "\n".join(checker.faults(store, made.nets))
    assert "down.weight has values under its mask" in found
    assert "0 of 20 of its 20 answers are right" in found
