"""The inventory of a store: what lies in it, whether it is whole, and what may go."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from smc_eval.experiment.cell import Chain, shared_nets
from smc_eval.files.checksum import file_sha256
from smc_eval.store.store import FOLDERS, SEAL, Store

MADE_AGAIN = ("nets", "partial", "masks", "logs")
"""Rooms of what is no result: it may go, and is computed again where it is missed."""
WEIGHTS = ("*.safetensors", "*.bin")
"""Files of a checkpoint that hold its weights."""


@dataclass(frozen=True)
class Item:
    """A net, a half-done training, the answers, sketches, masks or log of a cell."""

    room: str
    name: str
    path: Path
    bytes: int
    age: float
    """Seconds since it was written."""

    @property
    def digest(self) -> str:
        """What it is named by."""
        return self.name.partition(".")[0]


def stored_items(store: Store) -> Iterator[Item]:
    """Everything in a store but its book and what is being written."""
    now = time.time()
    for room in FOLDERS:
        if room == "leases":
            continue
        for path in sorted((store.folder / room).glob("[!.]*")):
            try:
                yield Item(room, path.name, path, size_of(path), now - path.stat().st_mtime)
            except FileNotFoundError:  # another process was faster
                continue


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir())
    return path.stat().st_size


def broken(store: Store) -> Iterator[str]:
    """What is not whole, a line each; every file is read."""
    for item in stored_items(store):
        match item.room:
            case "nets":
                whole = _net(item.path)
            case "partial":
                content = item.path.read_bytes()
                whole = hashlib.sha256(content[SEAL:]).digest() == content[:SEAL]
            case "predictions":
                whole = store.predictions.predicted(item.digest) is not None
            case "mask_samples":
                whole = store.mask_samples.load(item.digest) is not None
            case "masks":
                whole = store.masks.load(item.digest) is not None
            case _:
                continue
        if not whole:
            yield f"{item.room}/{item.name} is cut short or altered"
    store.records.latest()
    if store.records.broken:
        yield f"{store.records.path.name} has {store.records.broken} broken lines"


def _net(folder: Path) -> bool:
    try:
        seals = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["seals"]
        return all(file_sha256(folder / name) == seal for name, seal in seals.items())
    except (OSError, ValueError, KeyError):
        return False


def prunable(
    store: Store, *, older: float | None = None, most: int | None = None, results_only: bool = False
) -> list[Item]:
    """What may go, the oldest first: records, answers and sketches never do.

    All that is older than so many seconds; what makes the rest larger than so many bytes; or
    everything that is no result.
    """
    found = [item for item in stored_items(store) if item.room in MADE_AGAIN]
    found.sort(key=lambda item: -item.age)
    left, going = sum(item.bytes for item in stored_items(store)), list[Item]()
    for item in found:
        if results_only or (older is not None and item.age > older) or (most is not None and left > most):
            going.append(item)
            left -= item.bytes
    return going


def delete(store: Store, item: Item) -> None:
    """Take one item out of a store."""
    if item.room == "nets":
        store.forget(item.digest)
    else:
        item.path.unlink(missing_ok=True)


def bytes_needed(store: Store, chains: Sequence[Chain]) -> int | None:
    """Bytes of the nets that a grid keeps where stages are shared; None where that cannot be told.

    A net is as large as one of the same task and model in the store, else as its checkpoint here.
    """
    known, kept, total = dict[tuple[str, str], int | None](), shared_nets(chains), 0
    alike = dict[tuple[str, str], list[Chain]]()
    for chain in chains:
        alike.setdefault((chain.cell.task.label, chain.cell.task.backbone), []).append(chain)
    counted = set[str]()
    for key, those in alike.items():
        here = {link.digest for chain in those for link in chain.links} & kept - counted
        counted |= here
        if not here:
            continue
        known[key] = _size(store, those)
        if (each := known[key]) is None:
            return None
        total += len(here) * each
    return total


def _size(store: Store, chains: Sequence[Chain]) -> int | None:
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
