"""The store: whole or not at all, believed only when its seals hold."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from smc_eval.engine.progress import Silent
from smc_eval.errors import Busy, LeaseLost, StoreError
from smc_eval.files.atomic import Owner
from smc_eval.store.store import Store

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}
MASKS = {"a": torch.tensor([[True, False, True], [False, False, True]])}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.open()
    return made


def test_a_net_comes_back_as_it_was_saved(store: Store) -> None:
    store.save("d", TENSORS, MASKS, {"steps": 3})
    loaded = store.load("d")
    assert loaded is not None
    tensors, masks, meta = loaded
    assert torch.equal(tensors["a"], TENSORS["a"]) and torch.equal(tensors["b"], TENSORS["b"])
    assert torch.equal(masks["a"], MASKS["a"]) and meta == {"steps": 3}


@pytest.mark.parametrize("name", ["net.safetensors", "masks.safetensors", "meta.json"])
@pytest.mark.parametrize("harm", ["cut", "alter", "remove"])
def test_a_net_cut_short_or_altered_is_not_believed(store: Store, name: str, harm: str) -> None:
    store.save("d", TENSORS, MASKS, None)
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


def test_a_checkpoint_comes_back_and_a_broken_one_does_not(store: Store) -> None:
    store.save_partial("d", {"step": 7, "weights": {"a": torch.ones(2)}})
    loaded = store.load_partial("d")
    assert loaded is not None and loaded["step"] == 7
    path = store.folder / "partial" / "d"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.load_partial("d") is None
    path.write_bytes(b"")
    assert store.load_partial("d") is None


def test_a_full_disk_leaves_the_old_checkpoint_and_no_litter(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save_partial("d", {"step": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        store.save_partial("d", {"step": 2})
    with pytest.raises(StoreError, match="No space left"):
        store.save("n", TENSORS, MASKS, None)
    monkeypatch.undo()
    assert store.load_partial("d") == {"step": 1}
    assert store.load("n") is None
    assert [path.name for path in (store.folder / "partial").iterdir()] == ["d"]
    assert not list((store.folder / "nets").iterdir())


def test_a_store_of_another_release_is_refused_by_name(store: Store) -> None:
    (store.folder / "layout").write_text("99", encoding="utf-8")
    with pytest.raises(StoreError, match="layout '99'"):
        store.open()


def test_a_store_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="choose another --output"):
        Store(tmp_path / "file" / "store").open()


def test_a_second_holder_of_a_stage_waits_and_says_so(store: Store) -> None:
    notes: list[str] = []

    class Listening(Silent):
        def note(self, text: str, *, warning: bool = False) -> None:
            notes.append(text)

    import threading

    inside, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store.lock("d", Silent()):
            inside.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(10)
    threading.Timer(0.2, release.set).start()
    with store.lock("d", Listening()):
        assert release.is_set()
    holder.join()
    assert notes == ["waiting for another process that works on the same stage"]


def test_a_net_that_another_process_made_meanwhile_is_left_as_it_is(store: Store) -> None:
    store.save("d", TENSORS, MASKS, {"steps": 3})
    before = (store.folder / "nets" / "d").stat().st_ino
    store.save("d", TENSORS, MASKS, {"steps": 3})
    assert (store.folder / "nets" / "d").stat().st_ino == before
    (store.folder / "nets" / "d" / "net.safetensors").write_bytes(b"")
    store.save("d", TENSORS, MASKS, {"steps": 3})
    assert store.load("d") is not None


def test_a_process_that_lost_its_lease_writes_no_more(store: Store) -> None:
    with store.lock("d", Silent()):
        (holder,) = (store.folder / "leases" / "d").iterdir()
        store.save_partial("d", {"step": 1})
        holder.rename(holder.with_name("other,,1,key"))  # what taking over is
        with pytest.raises(LeaseLost):
            store.save_partial("d", {"step": 2})
        with pytest.raises(LeaseLost):
            store.save("d", TENSORS, MASKS, None)
    assert store.load_partial("d") == {"step": 1} and store.load("d") is None
    assert store.leases.owner("d") is not None  # and the other's lease stays


def test_a_stage_that_is_held_is_busy_for_who_does_not_wait(store: Store) -> None:
    with store.lock("d", Silent()), pytest.raises(Busy), store.lock("d", Silent(), wait=False):
        pass
    assert not list((store.folder / "leases").iterdir())


def test_opening_sweeps_what_the_killed_left(store: Store) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    me = Owner.new()
    gone = Owner(me.host, me.place, process.pid, "k")
    (store.folder / "nets" / f".d~{gone}").mkdir()
    (store.folder / "partial" / f".d~{gone}").write_bytes(b"half")
    (store.folder / "leases" / "d").mkdir()
    (store.folder / "leases" / "d" / str(gone)).touch()
    store.open()
    assert list(store.folder.glob("*/*")) == []
