"""The file of a store's records: `results.jsonl`."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from smc_eval.errors import StoreError, UsageError, first_line
from smc_eval.files.atomic import sync
from smc_eval.files.lease import Leases
from smc_eval.store.layout import check_layout
from smc_eval.store.record import RECORD_SCHEMA, Record
from smc_eval.store.record_line import BrokenLine, ForeignSchema, LineReader, sealed_line

RECORDS_NAME = "results.jsonl"
"""Name of the records file inside a store."""


SHOWN_FAULTS = 3
"""Skipped lines that a warning names."""


class RecordsFile:
    """The records of a store: JSON lines, each sealed by a digest of its content.

    A line that was cut short or altered, or that another release wrote, is skipped and named in `faults`.
    It never hides the others; its cell runs again.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORDS_NAME
        self.faults: list[str] = []
        """Each line skipped so far: its number, and why."""
        self._bytes_read = self._lines_read = 0
        self._latest: dict[str, Record] = {}
        self._reader = LineReader()

    @classmethod
    def of_store(cls, folder: Path) -> RecordsFile:
        """The records of a store that exists.

        Raises:
            UsageError: the folder has no records file.
            StoreError: another release wrote the store.
        """
        check_layout(folder)
        file = cls(folder)
        if not file.path.is_file():
            raise UsageError(f"{str(folder)!r} holds no {RECORDS_NAME}; name a folder of an earlier --output")
        return file

    @property
    def broken(self) -> int:
        """Number of lines skipped so far."""
        return len(self.faults)

    @property
    def warning(self) -> str:
        """The file with its skipped lines, in one line; empty if there are none."""
        if not self.faults:
            return ""
        more = f" and {self.broken - SHOWN_FAULTS} more" if self.broken > SHOWN_FAULTS else ""
        return f"{self.path}: skipped {'; '.join(self.faults[:SHOWN_FAULTS])}{more}"

    def latest(self) -> dict[str, Record]:
        """The newest whole record of each cell, by digest. Reads only the lines added since the last call.

        Raises:
            StoreError: the file cannot be read, or another release wrote all of it.
        """
        foreign: ForeignSchema | None = None
        try:
            with self.path.open("rb") as file, collection_paused():
                file.seek(self._bytes_read)
                for line in file:
                    if not line.endswith(b"\n"):  # another process may be writing the rest
                        break
                    self._bytes_read += len(line)
                    self._lines_read += 1
                    error = self._read(line)
                    foreign = foreign or error
        except (FileNotFoundError, NotADirectoryError):
            return dict(self._latest)
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from None
        if foreign and not self._latest:
            self.faults.clear()  # the next call reads the file again
            self._bytes_read = self._lines_read = 0
            raise StoreError(
                f"{self.path} has {foreign}; this release has schema {RECORD_SCHEMA}; "
                "choose another --output, or use the release that wrote the store"
            )
        return dict(self._latest)

    def _read(self, line: bytes) -> ForeignSchema | None:
        """Take the record of a line, or note its fault. Returns the error of a line of another release."""
        try:
            record = self._reader.record(line)
        except BrokenLine:
            self.faults.append(f"line {self._lines_read} (cut short or altered)")
        except ForeignSchema as error:
            self.faults.append(f"line {self._lines_read} ({error})")
            return error
        else:
            self._latest[record.digest] = record
        return None

    def get(self, digest: str) -> Record | None:
        """The newest whole record of one cell; None where it has none.

        Raises:
            StoreError: the file cannot be read, or another release wrote all of it.
        """
        return self.latest().get(digest)

    @property
    def bytes_read(self) -> int:
        """Bytes of the file that `latest` has read so far."""
        return self._bytes_read

    def added(self, digest: str, since: int) -> Record | None:
        """The newest whole record of one cell after the first `since` bytes of the file, or None.

        Another process has read these bytes. No other line is read as a record, so the cost does not grow
        with the file. A file that has not so many bytes is another one, and is searched from its start.

        Raises:
            StoreError: the file cannot be read.
        """
        found: Record | None = None
        try:
            with self.path.open("rb") as file:
                file.seek(since if since <= file.seek(0, os.SEEK_END) else 0)
                for line in file:
                    if digest.encode() in line and line.endswith(b"\n"):
                        with suppress(BrokenLine, ForeignSchema):
                            record = self._reader.record(line)
                            found = record if record.digest == digest else found
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from None
        return found

    def add(self, record: Record) -> None:
        """Append one record: whole and on disk, or not at all.

        Raises:
            StoreError: the file cannot be written, or the record holds what JSON has not.
        """
        try:
            content = sealed_line(record)
            LineReader().record(content)
        except BrokenLine:  # it would be written, and never be read
            raise StoreError(
                f"cannot write a record to {self.path}: a value of {record.method!r} or {record.task!r} "
                "has a type or a size that no record can hold"
            ) from None
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"cannot write a record to {self.path}: {first_line(error)}") from None
        try:
            leases = Leases(self.path.parent / "leases")
            leases.folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a buffer would write its rest again after the file was truncated.
            with leases.held(RECORDS_NAME), self.path.open("ab+", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                if end:  # a killed writer left no line end: begin a new line
                    file.seek(end - 1)
                    content = content if file.read(1) == b"\n" else b"\n" + content
                try:
                    left = memoryview(content)
                    while left:
                        left = left[file.write(left) :]
                    os.fsync(file.fileno())
                    if not end:  # the file is new: its name must reach the disk too
                        sync(self.path.parent)
                except OSError:
                    file.truncate(end)
                    raise
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from None


@contextmanager
def collection_paused() -> Iterator[None]:
    """Within, Python looks for no garbage: a reader makes none, and each look goes through all records."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def latest_records(folders: Sequence[Path], warn: Callable[[str], object]) -> list[Record]:
    """The newest record of each cell in several stores; that of a later folder counts.

    `warn` gets a line for each file with lines that were skipped.

    Raises:
        UsageError: a folder is no store, or there are no records.
        StoreError: another release wrote a store, or it cannot be read.
    """
    latest = dict[str, Record]()
    for folder in folders:
        file = RecordsFile.of_store(folder)
        latest |= file.latest()
        if file.faults:
            warn(file.warning)
    if not latest:
        raise UsageError(f"there are no records in {', '.join(map(str, folders)) or 'no folder'}")
    return list(latest.values())
