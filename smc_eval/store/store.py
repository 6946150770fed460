"""The store: finished nets, unfinished trainings, records and predictions, by digest, on disk."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smc_eval.errors import Busy, PluginError, StoreError, StoreGone
from smc_eval.files.atomic import draft_path, sweep_drafts, sync, write_atomic
from smc_eval.files.json_text import parse_json
from smc_eval.files.lease import POLLS, Lease, Leases
from smc_eval.files.sealed import open_sealed, write_sealed
from smc_eval.spec import digest as json_digest
from smc_eval.store.kernel_choices import KernelChoices
from smc_eval.store.layout import LAYOUT, LAYOUT_FILE, check_layout
from smc_eval.store.mask_samples import MaskSamples
from smc_eval.store.masks import MaskFiles
from smc_eval.store.net_uses import NetUses
from smc_eval.store.predictions import Predictions
from smc_eval.store.records import RecordsFile
from smc_eval.store.stored_net import META, StoredNet, sealed_meta

Note = Callable[[str], object]
"""Takes a line of progress, such as that the store waits for another process."""

FOLDERS = (
    *("nets", "masks", "mask_samples", "uses", "kernels", "partial", "predictions"),
    *("leases", "logs", "speeds"),
)
"""The folders in which files are written."""
GRID_FILE = "grid.json"


class Store:
    """A folder that any number of processes may share. No file in it is ever partly written.

    layout              version of these folders and files
    results.jsonl       one record, with a checksum, for each finished or failed cell
    predictions/        the predictions of each scored cell
    nets/DIGEST/        net.safetensors (an ordinary checkpoint), masks.safetensors (bits), meta.json
    mask_samples/       some entries of the masks of each scored net
    uses/               what the task uses of the net of each start
    kernels/            which kernels were fastest here, with --kernels sparse
    masks/              the whole masks of each scored net, with --keep masks
    partial/DIGEST      the state of an interrupted training, sealed
    leases/ logs/       which process works on which cell and stage; output and tracebacks of cells
    grid.json           the grid that was started last, for workers that join
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = RecordsFile(folder)
        self.predictions = Predictions(folder)
        self.mask_samples = MaskSamples(folder)
        self.masks = MaskFiles(folder)
        self.net_uses = NetUses(folder)
        self.kernel_choices = KernelChoices(folder)
        self.leases = Leases(folder / "leases")
        self._held: list[Lease] = []

    def open(self) -> None:
        """Make the folders, free the leases of dead processes and delete drafts.

        A store of another release is refused before anything in it is made or deleted.

        Raises:
            StoreError: the folder cannot be written, or another release wrote it.
        """
        check_layout(self.folder)
        layout = self.folder / LAYOUT_FILE
        if not layout.exists():
            self.records.latest()  # refuses the records of another release
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not layout.exists():
                write_atomic(layout, str(LAYOUT).encode())
            for name in ("nets", "partial", "leases", "logs"):
                (self.folder / name).mkdir(exist_ok=True)
            for name in ("", *FOLDERS):
                sweep_drafts(self.folder / name)
            self.leases.active()  # frees the leases of dead processes
        except OSError as error:
            raise StoreError(
                f"cannot write the store {self.folder}: {error.strerror}; choose another --output"
            ) from None

    def check(self) -> None:
        """Check that this process may still write. Call it before each write.

        Raises:
            StoreGone: the folder has vanished.
            LeaseLost: another process took over the work of this one.
        """
        if not (self.folder / LAYOUT_FILE).exists():
            raise StoreGone(
                f"the store {self.folder} has vanished; "
                "bring the folder back and run the same command again to continue"
            )
        for lease in self._held:
            lease.check()

    def nets(self) -> set[str]:
        """Digests of all finished nets, by one listing of the folder."""
        try:
            return {path.name for path in (self.folder / "nets").glob("[!.]*")}
        except OSError:
            return set()

    def finished(self, digest: str) -> bool:
        """Whether the store has the net of this digest, judged by its meta file alone."""
        return (self.folder / "nets" / digest / META).exists()

    def save(self, digest: str, net: StoredNet, *, stays: bool = False) -> None:
        """Save a finished net: all of it, or nothing.

        A net that `stays` serves other cells too: `drop` does not delete it.

        Raises:
            StoreError: it cannot be written.
        """
        final = self.folder / "nets" / digest
        self.check()
        with self._writing(final):
            draft = draft_path(final)
            try:
                draft.mkdir()
                net.write(draft, digest, stays=stays)
                if final.exists() and self.load(digest) is None:  # broken
                    self._delete(final)
                if not final.exists():  # else another process saved it: the same digest, the same net
                    draft.rename(final)
                    sync(final.parent)
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def load(self, digest: str) -> StoredNet | None:
        """A finished net; None where it is missing, cut short or altered, or is another net."""
        return StoredNet.read(self.folder / "nets" / digest)

    def drop(self, digest: str) -> None:
        """Delete a net, unless it was saved with `stays`, perhaps by another grid."""
        meta = sealed_meta(self.folder / "nets" / digest)
        if not (meta and meta["stays"]):
            self.forget(digest)

    def forget(self, digest: str) -> None:
        """Delete a net and its unfinished training, where there are any."""
        self._delete(self.folder / "nets" / digest)
        self.forget_partial(digest)

    def save_partial(self, digest: str, content: Mapping[str, Any]) -> None:
        """Save the state of a training in progress, in place of an older one.

        Raises:
            StoreError: it cannot be written.
        """
        import torch

        path = self.folder / "partial" / digest
        self.check()
        with self._writing(path):
            write_sealed(path, digest, lambda file: torch.save(dict(content), file))

    def load_partial(self, digest: str) -> dict[str, Any] | None:
        """The state of a training in progress; None where it is missing, cut short or altered."""
        import torch

        try:
            with open_sealed(self.folder / "partial" / digest, digest) as file:
                loaded: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, ValueError):
            return None
        return loaded

    def forget_partial(self, digest: str) -> None:
        """Delete the state of a training, where there is one."""
        (self.folder / "partial" / digest).unlink(missing_ok=True)

    def save_grid(self, content: Mapping[str, Any]) -> None:
        """Save the grid that was started last, for workers that join.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.folder / GRID_FILE
        sealed = {**content, "seal": json_digest(content)}
        with self._writing(path):
            write_atomic(path, json.dumps(sealed, indent=1, ensure_ascii=False).encode())

    def saved_grid(self) -> dict[str, Any] | None:
        """The grid that was started last; None where there is none.

        Raises:
            StoreError: it cannot be read, or is altered.
        """
        path = self.folder / GRID_FILE
        try:
            content: dict[str, Any] = parse_json(path.read_bytes())
            whole = content.pop("seal") == json_digest(content)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError, PluginError):
            whole = False
        if not whole:
            raise StoreError(f"{path} is cut short or altered; start the grid again")
        return content

    def log(self, digest: str, text: str = "") -> Path:
        """Append an unforeseen error to the output of a cell. Returns the path of the log."""
        path = self.folder / "logs" / f"{digest}.txt"
        with self._writing(path), path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(text)
        return path

    @contextmanager
    def lock(self, digest: str, note: Note, *, wait: bool = True) -> Iterator[None]:
        """Hold a cell or stage against every other process, by a lease; wait while another holds it.

        Raises:
            Busy: another holds it, and `wait` is False.
        """
        lease = self._leased(digest, note, wait=wait)
        self._held.append(lease)
        try:
            yield
        finally:
            self._held.remove(lease)
            lease.release()

    def _leased(self, digest: str, note: Note, *, wait: bool) -> Lease:
        pause, most = POLLS
        noted = False
        while True:
            try:
                lease = self.leases.take(digest)
            except OSError as error:
                self.check()
                raise StoreError(f"cannot lease {self.leases.folder / digest}: {error.strerror}") from None
            if lease:
                return lease
            if not wait:
                raise Busy("another process works on it")
            if not noted:
                note("waiting for another process that works on the same stage")
                noted = True
            time.sleep(pause)
            pause = min(2 * pause, most)

    @staticmethod
    def _delete(final: Path) -> None:
        """Delete a net in one step: no process ever sees half of it."""
        draft = draft_path(final)
        try:
            final.rename(draft)
        except OSError:  # it does not exist
            return
        shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from None
