"""The inventory of a store: its files, whether they are whole, and which may be deleted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from smc_eval.errors import StoreError
from smc_eval.experiment.cell import Chain, shared_nets
from smc_eval.files.sealed import open_sealed
from smc_eval.store.store import FOLDERS, Store
from smc_eval.store.stored_net import files_are_whole, sealed_meta

RECOMPUTABLE = ("nets", "partial", "masks", "logs")
"""Folders without results: their files may be deleted, and are computed again where they are needed."""
WEIGHTS = ("*.safetensors", "*.bin")
"""Files of a checkpoint that hold its weights."""


@dataclass(frozen=True)
class Item:
    """A net, an unfinished training, or the predictions, mask samples, masks or log of a cell."""

    folder: str
    """Its folder inside the store."""
    name: str
    path: Path
    bytes: int
    age: float
    """Seconds since it was written."""

    @property
    def digest(self) -> str:
        """The digest in its name."""
        return self.name.partition(".")[0]


def stored_items(store: Store) -> Iterator[Item]:
    """Everything in a store except its records, leases and drafts."""
    now = time.time()
    for folder in FOLDERS:
        if folder == "leases":
            continue
        for path in sorted((store.folder / folder).glob("[!.]*")):
            try:
                yield Item(folder, path.name, path, size_of(path), now - path.stat().st_mtime)
            except FileNotFoundError:  # another process deleted it
                continue


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir())
    return path.stat().st_size


def broken(store: Store) -> Iterator[str]:
    """A line for each file that is not whole. Every file is read."""
    for item in stored_items(store):
        match item.folder:
            case "nets":
                meta = sealed_meta(item.path)
                whole = meta is not None and files_are_whole(item.path, meta)
            case "partial":
                whole = _is_sealed(item.path)
            case "predictions":
                whole = store.predictions.predicted(item.digest) is not None
            case "mask_samples":
                whole = store.mask_samples.load(item.digest) is not None
            case "uses":
                whole = store.net_uses.is_whole(item.digest)
            case "kernels":
                whole = store.kernel_choices.is_whole(item.digest)
            case "masks":
                whole = _masks_are_whole(store, item.digest)
            case _:
                continue
        if not whole:
            yield f"{item.folder}/{item.name} is cut short or altered, or is that of another cell"
    yield from _broken_grid_and_records(store)


def _broken_grid_and_records(store: Store) -> Iterator[str]:
    try:
        store.saved_grid()
    except StoreError as error:
        yield str(error)
    store.records.latest()
    yield from (f"{store.records.path.name} {fault}" for fault in store.records.faults)
    if store.records.path.exists() and store.records.path.read_bytes()[-1:] not in {b"", b"\n"}:
        yield f"the last line of {store.records.path.name} is cut short"


def _masks_are_whole(store: Store, digest: str) -> bool:
    """Whether a cell's masks are whole, and are those of its certificate."""
    from smc_eval.sparse.bits import mask_digest

    masks, record = store.masks.load(digest), store.records.get(digest)
    if masks is None:
        return False
    return not (record and record.certificate) or record.certificate.mask_digest == mask_digest(masks)


def _is_sealed(path: Path) -> bool:
    try:
        with open_sealed(path, path.name):
            return True
    except (OSError, ValueError):
        return False


def prunable(
    store: Store, *, older: float | None = None, most: int | None = None, results_only: bool = False
) -> list[Item]:
    """Items that may be deleted, the oldest first. Records, predictions, mask samples and uses never are.

    Args:
        older: choose items that are older than so many seconds.
        most: choose items until the store has at most so many bytes.
        results_only: choose all items without results.
    """
    items = [item for item in stored_items(store) if item.folder in RECOMPUTABLE]
    items.sort(key=lambda item: -item.age)
    left, chosen = sum(item.bytes for item in stored_items(store)), list[Item]()
    for item in items:
        if results_only or (older is not None and item.age > older) or (most is not None and left > most):
            chosen.append(item)
            left -= item.bytes
    return chosen


def delete(store: Store, item: Item) -> None:
    """Delete one item of a store."""
    if item.folder == "nets":
        store.forget(item.digest)
    else:
        item.path.unlink(missing_ok=True)


def bytes_needed(store: Store, chains: Sequence[Chain]) -> int | None:
    """Bytes of the nets that a grid keeps where stages are shared; None where they are unknown.

    A net is as large as one of the same task and model in the store, else as its checkpoint on this machine.
    """
    kept, total = shared_nets(chains), 0
    groups = dict[tuple[str, str], list[Chain]]()
    for chain in chains:
        groups.setdefault((chain.cell.task.label, chain.cell.task.backbone), []).append(chain)
    counted = set[str]()
    for group in groups.values():
        nets = {link.digest for chain in group for link in chain.links} & kept - counted
        counted |= nets
        if not nets:
            continue
        if (size := _net_size(store, group)) is None:
            return None
        total += len(nets) * size
    return total


def _net_size(store: Store, chains: Sequence[Chain]) -> int | None:
    for chain in chains:
        for link in chain.links:
            folder = store.folder / "nets" / link.digest
            if folder.is_dir():
                return size_of(folder)
    for source in chains[0].sources:
        if source.role == "model" and Path(source.name).is_dir():
            for pattern in WEIGHTS:
                if sizes := [file.stat().st_size for file in Path(source.name).glob(pattern)]:
                    return sum(sizes)
    return None
