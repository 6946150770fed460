"""Seals: a file of a store that is altered, or has the place of another, is found and never believed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.files.sealed_json import write_sealed_json
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.store.inventory import broken
from smc_eval.store.net_uses import NetUse
from smc_eval.store.store import Store
from smc_eval.store.stored_net import StoredNet
from smc_eval.target import Target
from smc_eval.testing import chain_of

SEALED = ("nets", "partial", "predictions", "mask_samples", "masks", "uses")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two cells, their masks and predictions, and of two nets and trainings."""
    folder = tmp_path_factory.mktemp("made")
    chains = [chain_of(MagnitudeAfter(), Target(sparsity=sparsity)) for sparsity in (0.5, 0.8)]
    records = run_cells(chains, RunOptions(folder, device="cpu", threads=1, keep="masks"))
    assert [record.status for record in records] == ["ok", "ok"]
    store = Store(folder)
    store.save_grid({"cells": {chain.digest: chain.cell.label for chain in chains}})
    for name in ("a", "b"):
        store.save_partial(name, {"step": name})
        store.net_uses.save(name, NetUse(unused=(name,)))
        store.save(name, StoredNet({"w": torch.ones(2, 2)}, {"w": torch.eye(2).bool()}, {"net": name}))
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    store = Store(Path(shutil.copytree(made, tmp_path / "store")))
    assert list(broken(store)) == []
    return store


def files(store: Store) -> list[Path]:
    """The files of a store, except its layout, which is checked when a store is opened."""
    found = sorted(path for path in store.folder.rglob("*") if path.is_file())
    return [path for path in found if path.name != "layout"]


def test_a_changed_byte_is_found_in_every_file(store: Store) -> None:
    kinds = {path.relative_to(store.folder).parts[0] for path in files(store)}
    assert kinds == {"results.jsonl", "grid.json", *SEALED}
    for path in files(store):
        content = path.read_bytes()
        for place in {0, len(content) // 3, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            assert list(broken(Store(store.folder))), f"byte {place} of {path.relative_to(store.folder)}"
        path.write_bytes(content)


@pytest.mark.parametrize("kind", SEALED)
def test_files_that_were_swapped_are_found_and_not_read(store: Store, kind: str) -> None:
    first, second = sorted((store.folder / kind).iterdir())[:2]
    aside = store.folder / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    assert len(list(broken(store))) == 2
    digest = first.name.partition(".")[0]
    readers = {
        "nets": store.load,
        "partial": store.load_partial,
        "predictions": store.predictions.predicted,
        "mask_samples": store.mask_samples.load,
        "masks": store.masks.load,
        "uses": store.net_uses.load,
    }
    assert readers[kind](digest) is None


def test_a_batch_effect_is_known_once_it_was_saved(store: Store) -> None:
    uses = store.net_uses
    assert uses.batch_effect("start", "task") is None
    uses.save_batch_effect("start", "task", effect=True)
    uses.save_batch_effect("start", "other task", effect=False)
    assert (uses.batch_effect("start", "task"), uses.batch_effect("start", "other task")) == (True, False)
    assert uses.batch_effect("other start", "task") is None
    assert list(broken(store)) == []


@pytest.mark.parametrize("content", [{}, {"samples": None}, {"samples": [1]}, {"samples": {"w": None}}])
def test_samples_of_another_form_under_the_right_seal_are_not_read(tmp_path: Path, content: dict) -> None:
    store = Store(tmp_path)
    write_sealed_json(tmp_path / "mask_samples" / "a.json.gz", "a", content)
    assert store.mask_samples.load("a") is None
    assert list(broken(store)) == [
        "mask_samples/a.json.gz is cut short or altered, or is that of another cell"
    ]
