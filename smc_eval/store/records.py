"""The file of a store's records: `results.jsonl`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from smc_eval.errors import StoreError
from smc_eval.files.lease import Leases
from smc_eval.spec import digest
from smc_eval.store.record import RECORD_SCHEMA, Record

RECORDS_NAME = "results.jsonl"
"""Name of the book inside a store."""


class RecordsFile:
    """The records of a store: JSON lines, each sealed by a digest of its content.

    A line that was cut short or altered is passed over, and its cell runs again.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORDS_NAME
        self.broken = 0
        """Lines passed over so far."""
        self._read = 0
        self._latest: dict[str, Record] = {}

    def latest(self) -> dict[str, Record]:
        """The newest sound record of each cell, by digest; reads only what was added since.

        Raises:
            StoreError: the book cannot be read, or is another release's.
        """
        try:
            with self.path.open("rb") as book:
                book.seek(self._read)
                added = book.read()
        except FileNotFoundError:
            return dict(self._latest)
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from None
        whole = added.rfind(b"\n") + 1  # another process may be writing what follows
        for line in added[:whole].splitlines():
            result = self._opened(line.decode(errors="replace"))
            if result is None:
                self.broken += 1
            else:
                self._latest[result.digest] = result
        self._read += whole
        return dict(self._latest)

    def get(self, digest: str) -> Record | None:
        """The newest sound record of one cell; None where it has none.

        Raises:
            StoreError: the book cannot be read, or is another release's.
        """
        return self.latest().get(digest)

    def _opened(self, line: str) -> Record | None:
        try:
            record = json.loads(line)
            seal = record.pop("seal")
            if seal != digest(record):
                return None
            if record.pop("schema") != RECORD_SCHEMA:
                raise StoreError(
                    f"{self.path} was written by another release of smc-eval; use another --output"
                )
            return Record.from_json(record)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def add(self, record: Record) -> None:
        """Append one record: whole and on disk, or not at all.

        Raises:
            StoreError: the book cannot be written.
        """
        plain = {"schema": RECORD_SCHEMA, **record.to_json()}
        line = json.dumps({**plain, "seal": digest(plain)}, ensure_ascii=False) + "\n"
        try:
            leases = Leases(self.path.parent / "leases")
            leases.folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a buffer would write its rest again after the book was cut back.
            with leases.held(RECORDS_NAME), self.path.open("ab+", buffering=0) as book:
                end = book.seek(0, os.SEEK_END)
                if end:  # a writer killed half-way left no line end: begin a new line
                    book.seek(end - 1)
                    line = line if book.read(1) == b"\n" else "\n" + line
                try:
                    left = memoryview(line.encode())
                    while left:
                        left = left[book.write(left) :]
                    os.fsync(book.fileno())
                except OSError:
                    book.truncate(end)
                    raise
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from None
