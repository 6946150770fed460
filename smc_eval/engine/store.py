"""The store: finished nets, half-done trainings and the book of results, by digest, on disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from filelock import FileLock, Timeout

from smc_eval.answers import Answers
from smc_eval.errors import StoreError
from smc_eval.results import Book
from smc_eval.sketches import Sketches

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.engine.watch import Watcher

LAYOUT = 1
"""Version of the folders and files below; a store of another version is refused."""
SEAL = 32
"""Bytes of SHA-256 that stand before a checkpoint's content."""


class Store:
    """A folder that any number of processes may share. Nothing in it is ever half written.

    results.jsonl       one sealed record a finished or failed cell
    answers/            what each scored cell said of each example
    masks/              each scored net's masks at some of their places
    nets/DIGEST/        net.safetensors (an ordinary checkpoint), masks.safetensors (bits), meta.json
    partial/DIGEST      a training that was interrupted, sealed
    locks/ logs/        one file for each stage at work; one for each unforeseen error
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.book = Book(folder)
        self.answers = Answers(folder)
        self.sketches = Sketches(folder)

    def open(self) -> None:
        """Make the folders, and refuse a store that cannot be written or is another release's.

        Raises:
            StoreError: the folder cannot be written, or its layout is not ours.
        """
        marker = self.folder / "layout"
        try:
            for name in ("nets", "partial", "locks", "logs"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                self._replace(marker, str(LAYOUT).encode(), beside=f"layout.{uuid4().hex}")
            found = marker.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise StoreError(
                f"cannot write the store {self.folder}: {error.strerror}; choose another --output"
            ) from None
        if found != str(LAYOUT):
            raise StoreError(
                f"the store {self.folder} has layout {found!r}, this release writes {LAYOUT}; "
                "choose another --output"
            )

    def finished(self, digest: str) -> bool:
        """Whether the net of this digest lies here whole, as far as its meta file tells."""
        return (self.folder / "nets" / digest / "meta.json").exists()

    def save(
        self, digest: str, tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor], meta: Any
    ) -> None:
        """Keep a finished net: all of it under its name, or nothing.

        Raises:
            StoreError: it cannot be written.
        """
        from safetensors.torch import save

        from smc_eval.sparse.bits import packed

        bits = {name: packed(mask) for name, mask in masks.items()}
        files = {"net.safetensors": save(_plain(tensors)), "masks.safetensors": save(bits)}
        seals = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        files["meta.json"] = json.dumps({"seals": seals, "meta": meta}).encode()
        final = self.folder / "nets" / digest
        with self._writing(final):
            made = final.with_name(f".{digest}")
            shutil.rmtree(made, ignore_errors=True)  # a writer that was killed left it
            try:
                made.mkdir()
                for name, content in files.items():
                    _write(made / name, content)
                if final.exists():  # broken, or another process's: equal by name
                    shutil.rmtree(final)
                made.rename(final)
            finally:
                shutil.rmtree(made, ignore_errors=True)

    def load(self, digest: str) -> tuple[dict[str, Tensor], dict[str, Tensor], Any] | None:
        """A finished net's tensors, masks and meta; None where it is missing, cut short or altered."""
        from safetensors.torch import load

        from smc_eval.sparse.bits import unpacked

        folder = self.folder / "nets" / digest
        try:
            sealed = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            files = {name: (folder / name).read_bytes() for name in sealed["seals"]}
            if any(hashlib.sha256(files[name]).hexdigest() != seal for name, seal in sealed["seals"].items()):
                return None
            tensors, bits = load(files["net.safetensors"]), load(files["masks.safetensors"])
            masks = {name: unpacked(packed, tensors[name].shape) for name, packed in bits.items()}
            return tensors, masks, sealed["meta"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self, digest: str) -> None:
        """Delete a net and its half-done training, where there are any."""
        shutil.rmtree(self.folder / "nets" / digest, ignore_errors=True)
        (self.folder / "partial" / digest).unlink(missing_ok=True)

    def save_partial(self, digest: str, content: Mapping[str, Any]) -> None:
        """Keep the state of a training in progress, in place of an older one.

        Raises:
            StoreError: it cannot be written.
        """
        import torch

        stream = io.BytesIO()
        torch.save(dict(content), stream)
        payload = stream.getvalue()
        path = self.folder / "partial" / digest
        with self._writing(path):
            self._replace(path, hashlib.sha256(payload).digest() + payload)

    def load_partial(self, digest: str) -> dict[str, Any] | None:
        """The state of a training in progress; None where it is missing, cut short or altered."""
        import torch

        try:
            content = (self.folder / "partial" / digest).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content[SEAL:]).digest() != content[:SEAL]:
            return None
        loaded: dict[str, Any] = torch.load(io.BytesIO(content[SEAL:]), weights_only=True)
        return loaded

    def log(self, digest: str, text: str) -> Path:
        """Write down an unforeseen error and return where."""
        path = self.folder / "logs" / f"{digest}.txt"
        with self._writing(path):
            self._replace(path, text.encode())
        return path

    @contextmanager
    def lock(self, digest: str, watcher: Watcher) -> Iterator[None]:
        """Hold a stage against every other process; wait while another holds it."""
        lock = FileLock(self.folder / "locks" / digest)
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                watcher.note("waiting for another process that works on the same stage")
                lock.acquire()
        except OSError as error:
            raise StoreError(f"cannot lock {lock.lock_file}: {error.strerror}") from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from None

    @staticmethod
    def _replace(path: Path, content: bytes, beside: str | None = None) -> None:
        """Write a file beside its name, then move it there at once.

        Who writes a stage's files holds its lock, so one name beside is enough, and what a killed
        writer left there the next one takes over.
        """
        made = path.with_name(f".{beside or path.name}")
        try:
            _write(made, content)
            made.replace(path)
        finally:
            made.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a checkpoint file wants them: on the CPU, contiguous, each with memory of its own."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
