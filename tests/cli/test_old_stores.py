"""Stores of release 0.1.0: every verb refuses them by name, with advice, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smc_eval.spec import digest

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")
VERBS = [
    ("run", *TERMS, "--output", "old"),
    ("run", *TERMS[:-2], "--find", "s@95", "--output", "old"),
    ("work", *TERMS, "--output", "old"),
    ("work", "--output", "old"),
    ("plan", *TERMS, "--output", "old"),
    ("report", "old"),
    ("report", "new", "old"),
    ("compare", "dense", "omp-after", "old"),
    ("score", "old"),
    ("score", "old", "--dry-run"),
    ("store", "old", "--verify"),
    ("store", "old", "--prune", "--results-only"),
]


@pytest.fixture
def old(invoke, stores, record) -> Path:
    """A store as release 0.1.0 wrote it, and a new store beside it."""
    folder = Path("old").absolute()
    for name in ("nets", "partial", "answers", "sketches", "leases", "logs"):
        (folder / name).mkdir(parents=True)
    (folder / "nets" / "d1").mkdir()
    (folder / "nets" / "d1" / "meta.json").write_text("{}")
    (folder / "layout").write_text("1")
    (folder / "grid.json").write_text(json.dumps({"schema": 1, "release": "0.1.0", "order": {}, "cells": {}}))
    line = {"schema": 1, "task": "terms/gts", "method": "dense", "digest": "d1", "status": "ok"}
    (folder / "results.jsonl").write_text(json.dumps({**line, "seal": digest(line)}) + "\n")
    stores.add("new", record())
    return folder


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """The files and folders below a folder, with their contents."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_verb_refuses_a_store_of_another_layout_and_changes_nothing(
    invoke, refused, old: Path, words: tuple[str, ...]
) -> None:
    before = snapshot(old)
    message = refused(invoke(*words))
    assert "the store old has layout '1' of another release of smc-eval, this release has layout 2" in message
    assert "choose another --output, or use the release that wrote the store" in message
    assert snapshot(old) == before


@pytest.mark.parametrize("words", [words for words in VERBS if words[0] != "store"], ids=" ".join)
def test_records_of_another_schema_alone_are_refused_too(
    invoke, refused, old: Path, words: tuple[str, ...]
) -> None:
    (old / "layout").unlink()
    if words == ("work", "--output", "old"):
        (old / "grid.json").unlink()
    before = snapshot(old)
    message = refused(invoke(*words))
    if words != ("work", "--output", "old"):
        assert "old/results.jsonl has records of schema 1, written by another release of smc-eval" in message
        assert "choose another --output, or use the release that wrote the store" in message
    assert snapshot(old) == before
