"""Answers: what a net said of each example, and what that adds to its score, beside the book of records."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smc_eval.errors import StoreError
from smc_eval.files import replace
from smc_eval.score import Items

FOLDER = "answers"
"""Where they lie inside a store, a file a record."""


class Answers:
    """The answers of a store's cells, by the digest of the cell; JSON, compressed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def save(self, digest: str, predicted: Sequence[Any], items: Items | None) -> None:
        """Keep one cell's answers: all of them, or nothing.

        Raises:
            StoreError: they cannot be written.
        """
        told = {"predicted": list(predicted), "items": asdict(items) if items else None}
        content = gzip.compress(json.dumps(told, ensure_ascii=False).encode(), mtime=0)
        path = self._path(digest)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace(path, content)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from None

    def predicted(self, digest: str) -> list[Any] | None:
        """The predictions of a cell in the order of its examples; None where they are missing or broken."""
        told = self._told(digest)
        return told["predicted"] if told else None

    def items(self, digest: str) -> Items | None:
        """What each example added to a cell's score; None where that is missing or broken."""
        told = self._told(digest)
        if not told or not told["items"]:
            return None
        kind, rows, groups = (told["items"][name] for name in ("kind", "rows", "groups"))
        return Items(kind, tuple(map(tuple, rows)), tuple(groups))

    def _told(self, digest: str) -> dict[str, Any] | None:
        try:
            told: dict[str, Any] = json.loads(gzip.decompress(self._path(digest).read_bytes()))
        except (OSError, EOFError, ValueError):
            return None
        return told

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json.gz"
