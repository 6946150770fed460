"""The file of a store's records: `results.jsonl`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from smc_eval.errors import PluginError, StoreError, UsageError, first_line
from smc_eval.files.atomic import sync
from smc_eval.files.lease import Leases
from smc_eval.spec import digest
from smc_eval.store.layout import check_layout
from smc_eval.store.record import RECORD_SCHEMA, Record

RECORDS_NAME = "results.jsonl"
"""Name of the records file inside a store."""


SHOWN_FAULTS = 3
"""Skipped lines that a warning names."""


class BrokenLine(ValueError):
    """A line that was cut short or altered."""


class ForeignSchema(ValueError):
    """A whole line that another release wrote."""


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
        try:
            with self.path.open("rb") as file:
                file.seek(self._bytes_read)
                added = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return dict(self._latest)
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from None
        whole = added.rfind(b"\n") + 1  # another process may be writing the rest
        foreign: ForeignSchema | None = None
        for number, line in enumerate(added[:whole].split(b"\n")[:-1], self._lines_read + 1):
            try:
                record = parsed(line.decode(errors="replace"))
                self._latest[record.digest] = record
            except ForeignSchema as error:
                foreign = foreign or error
                self.faults.append(f"line {number} ({error})")
            except BrokenLine:
                self.faults.append(f"line {number} (cut short or altered)")
        if foreign and not self._latest:
            self.faults.clear()  # the next call reads the file again
            raise StoreError(
                f"{self.path} has {foreign}; this release has schema {RECORD_SCHEMA}; "
                "choose another --output, or use the release that wrote the store"
            )
        self._bytes_read += whole
        self._lines_read += added.count(b"\n")
        return dict(self._latest)

    def get(self, digest: str) -> Record | None:
        """The newest whole record of one cell; None where it has none.

        Raises:
            StoreError: the file cannot be read, or another release wrote all of it.
        """
        return self.latest().get(digest)

    def add(self, record: Record) -> None:
        """Append one record: whole and on disk, or not at all.

        Raises:
            StoreError: the file cannot be written, or the record holds what JSON has not.
        """
        try:
            plain = {"schema": RECORD_SCHEMA, **record.to_json()}
            sealed = {**plain, "seal": digest(plain)}
            content = (json.dumps(sealed, ensure_ascii=False, allow_nan=False) + "\n").encode()
            parsed(content.decode())
        except BrokenLine:  # it would be written, and never be read
            raise StoreError(
                f"cannot write a record to {self.path}: a value of {record.method!r} or {record.task!r} "
                "has a type or a size that no record can hold"
            ) from None
        except (ValueError, TypeError, RecursionError, PluginError) as error:
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


def parsed(line: str) -> Record:
    """The record of a line.

    Raises:
        BrokenLine: the line was cut short or altered.
        ForeignSchema: another release wrote it.
    """
    try:
        record = json.loads(line)
        seal = record.pop("seal")
        schema = record["schema"] if seal == digest(record) else None
        if schema == RECORD_SCHEMA:
            del record["schema"]
            return Record.from_json(record)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, PluginError):
        raise BrokenLine from None
    if schema is None:
        raise BrokenLine
    raise ForeignSchema(f"records of schema {schema!r}, written by another release of smc-eval")


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
