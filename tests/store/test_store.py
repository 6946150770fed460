"""The store: files are whole or absent, and are read only if their checksums hold."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from smc_eval.errors import Busy, LeaseLost, StoreError
from smc_eval.files.atomic import Owner
from smc_eval.spec import digest
from smc_eval.store.store import Store
from smc_eval.store.stored_net import StoredNet
from smc_eval.testing import record_with

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}
MASKS = {"a": torch.tensor([[True, False, True], [False, False, True]])}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.open()
    return store


def dead_here() -> Owner:
    """An owner whose process ran on this kernel and has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    me = Owner.new()
    return Owner(me.host, me.kernel, process.pid, "k")


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """The files and folders below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_net_is_loaded_as_it_was_saved(store: Store) -> None:
    store.save("d", StoredNet(TENSORS, MASKS, {"steps": 3}))
    loaded = store.load("d")
    assert loaded is not None
    tensors, masks, meta = loaded
    assert torch.equal(tensors["a"], TENSORS["a"]) and torch.equal(tensors["b"], TENSORS["b"])
    assert torch.equal(masks["a"], MASKS["a"]) and meta == {"steps": 3}


@pytest.mark.parametrize("name", ["net.safetensors", "masks.safetensors", "meta.json"])
@pytest.mark.parametrize("harm", ["cut", "alter", "remove"])
def test_a_net_cut_short_or_altered_is_not_loaded(store: Store, name: str, harm: str) -> None:
    store.save("d", StoredNet(TENSORS, MASKS, None))
    path = store.folder / "nets" / "d" / name
    content = path.read_bytes()
    match harm:
        case "cut":
            path.write_bytes(content[:-5])
        case "alter":
            path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        case "remove":
            path.unlink()
    assert store.load("d") is None


def test_a_checkpoint_is_loaded_and_a_broken_one_is_not(store: Store) -> None:
    store.save_partial("d", {"step": 7, "weights": {"a": torch.ones(2)}})
    loaded = store.load_partial("d")
    assert loaded is not None and loaded["step"] == 7
    path = store.folder / "partial" / "d"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.load_partial("d") is None
    path.write_bytes(b"")
    assert store.load_partial("d") is None


def test_a_full_disk_leaves_the_old_checkpoint_and_no_drafts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save_partial("d", {"step": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        store.save_partial("d", {"step": 2})
    with pytest.raises(StoreError, match="No space left"):
        store.save("n", StoredNet(TENSORS, MASKS, None))
    monkeypatch.undo()
    assert store.load_partial("d") == {"step": 1}
    assert store.load("n") is None
    assert [path.name for path in (store.folder / "partial").iterdir()] == ["d"]
    assert not list((store.folder / "nets").iterdir())


def test_a_store_of_another_release_is_refused_by_name(store: Store) -> None:
    (store.folder / "layout").write_text("99", encoding="utf-8")
    with pytest.raises(StoreError, match=f"the store {store.folder} has layout '99' of another release"):
        store.open()


@pytest.mark.parametrize("sign", ["layout", "records alone"])
def test_a_store_of_another_release_is_refused_before_anything_is_made_or_deleted(
    tmp_path: Path, sign: str
) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / f".d~{dead_here()}").write_bytes(b"half")  # a draft that `open` would delete
    (tmp_path / "leases" / "d").mkdir(parents=True)
    (tmp_path / "leases" / "d" / str(dead_here())).touch()  # a lease that `open` would free
    if sign == "layout":
        (tmp_path / "layout").write_text("1", encoding="utf-8")
    old = {"schema": 1, "digest": "d1", "status": "ok"}
    (tmp_path / "results.jsonl").write_text(json.dumps({**old, "seal": digest(old)}) + "\n", encoding="utf-8")
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match="another release of smc-eval"):
        Store(tmp_path).open()
    assert snapshot(tmp_path) == before


def test_a_store_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="choose another --output"):
        Store(tmp_path / "file" / "store").open()


def test_a_second_holder_of_a_stage_waits_and_notes_it(store: Store) -> None:
    notes: list[str] = []
    inside, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store.lock("d", notes.append):
            inside.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(10)
    threading.Timer(0.2, release.set).start()
    with store.lock("d", notes.append):
        assert release.is_set()
    holder.join()
    assert notes == ["waiting for another process that works on the same stage"]


def test_a_net_that_another_process_saved_is_not_written_again(store: Store) -> None:
    store.save("d", StoredNet(TENSORS, MASKS, {"steps": 3}))
    before = (store.folder / "nets" / "d").stat().st_ino
    store.save("d", StoredNet(TENSORS, MASKS, {"steps": 3}))
    assert (store.folder / "nets" / "d").stat().st_ino == before
    (store.folder / "nets" / "d" / "net.safetensors").write_bytes(b"")
    store.save("d", StoredNet(TENSORS, MASKS, {"steps": 3}))
    assert store.load("d") is not None


def test_a_process_that_lost_its_lease_writes_no_more(store: Store) -> None:
    with store.lock("d", print):
        (holder,) = (store.folder / "leases" / "d").iterdir()
        store.save_partial("d", {"step": 1})
        holder.rename(holder.with_name("other,,1,key"))  # as another process takes over
        with pytest.raises(LeaseLost):
            store.save_partial("d", {"step": 2})
        with pytest.raises(LeaseLost):
            store.save("d", StoredNet(TENSORS, MASKS, None))
    assert store.load_partial("d") == {"step": 1} and store.load("d") is None
    assert store.leases.owner("d") is not None  # the lease of the other process stays


def test_a_stage_that_is_held_is_busy_without_waiting(store: Store) -> None:
    with store.lock("d", print), pytest.raises(Busy), store.lock("d", print, wait=False):
        pass
    assert not list((store.folder / "leases").iterdir())


def test_open_deletes_drafts_and_frees_leases_of_dead_processes(store: Store) -> None:
    dead = dead_here()
    (store.folder / "nets" / f".d~{dead}").mkdir()
    (store.folder / "partial" / f".d~{dead}").write_bytes(b"half")
    (store.folder / "leases" / "d").mkdir()
    (store.folder / "leases" / "d" / str(dead)).touch()
    store.open()
    assert list(store.folder.glob("*/*")) == []


def test_a_new_name_reaches_the_disk_with_its_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[str]()
    flush = os.fsync

    def noted(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").resolve().name)
        flush(handle)

    monkeypatch.setattr(os, "fsync", noted)
    store.records.add(record_with())
    assert synced[-2:] == ["results.jsonl", "store"]
    synced.clear()
    store.records.add(record_with())
    assert "store" not in synced
    store.save_partial("d", {"step": 1})
    assert synced[-1] == "partial"
    store.save("n", StoredNet(TENSORS, MASKS, None))
    assert synced[-1] == "nets" and {"net.safetensors", "masks.safetensors", "meta.json"} <= set(synced)
