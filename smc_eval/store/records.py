"""The file of a store's records: `results.jsonl`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from smc_eval.errors import PluginError, StoreError
from smc_eval.files.json_text import parse_json
from smc_eval.files.lease import Leases
from smc_eval.spec import digest
from smc_eval.store.record import RECORD_SCHEMA, Record

RECORDS_NAME = "results.jsonl"
"""Name of the records file inside a store."""


class RecordsFile:
    """The records of a store: JSON lines, each sealed by a digest of its content.

    A line that was cut short or altered is skipped, and its cell runs again.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORDS_NAME
        self.broken = 0
        """Lines skipped so far."""
        self._bytes_read = 0
        self._latest: dict[str, Record] = {}

    def latest(self) -> dict[str, Record]:
        """The newest whole record of each cell, by digest. Reads only the lines added since the last call.

        Raises:
            StoreError: the file cannot be read, or another release wrote it.
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
        for line in added[:whole].splitlines():
            record = self._parsed(line.decode(errors="replace"))
            if record is None:
                self.broken += 1
            else:
                self._latest[record.digest] = record
        self._bytes_read += whole
        return dict(self._latest)

    def get(self, digest: str) -> Record | None:
        """The newest whole record of one cell; None where it has none.

        Raises:
            StoreError: the file cannot be read, or another release wrote it.
        """
        return self.latest().get(digest)

    def _parsed(self, line: str) -> Record | None:
        try:
            record = parse_json(line)
            seal = record.pop("seal")
            if seal != digest(record):
                return None
            if (schema := record.pop("schema")) != RECORD_SCHEMA:
                raise StoreError(
                    f"{self.path} has records of schema {schema!r}, written by another release of smc-eval; "
                    f"this release has schema {RECORD_SCHEMA}; choose another --output, or use the release "
                    "that wrote the store"
                )
            return Record.from_json(record)
        # numbers that are not finite, and what is nested deeply, have no digest: PluginError, RecursionError
        except (ValueError, TypeError, KeyError, AttributeError, PluginError, RecursionError):
            return None

    def add(self, record: Record) -> None:
        """Append one record: whole and on disk, or not at all.

        Raises:
            StoreError: the file cannot be written.
        """
        plain = {"schema": RECORD_SCHEMA, **record.to_json()}
        line = json.dumps({**plain, "seal": digest(plain)}, ensure_ascii=False) + "\n"
        try:
            leases = Leases(self.path.parent / "leases")
            leases.folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a buffer would write its rest again after the file was truncated.
            with leases.held(RECORDS_NAME), self.path.open("ab+", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                if end:  # a killed writer left no line end: begin a new line
                    file.seek(end - 1)
                    line = line if file.read(1) == b"\n" else "\n" + line
                try:
                    left = memoryview(line.encode())
                    while left:
                        left = left[file.write(left) :]
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from None
