"""Answers: what a net said of each example, and what that adds to its score, beside the book of records."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smc_eval.errors import StoreError
from smc_eval.files.atomic import write_atomic
from smc_eval.score import Items

PREDICTIONS_FOLDER = "predictions"
"""Where they lie inside a store, a file a record."""


class Predictions:
    """The answers of a store's cells, by the digest of the cell; JSON, compressed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / PREDICTIONS_FOLDER

    def save(self, digest: str, predicted: Sequence[Any], items: Items | None) -> None:
        """Keep one cell's answers: all of them, or nothing.

        Raises:
            StoreError: they cannot be written.
        """
        write_json_gz(
            self._path(digest),
            {"predicted": list(predicted), "items": asdict(items) if items else None},
        )

    def predicted(self, digest: str) -> list[Any] | None:
        """The predictions of a cell in the order of its examples; None where they are missing or broken."""
        found = read_json_gz(self._path(digest))
        return found["predicted"] if found else None

    def items(self, digest: str) -> Items | None:
        """What each example added to a cell's score; None where that is missing or broken."""
        found = read_json_gz(self._path(digest))
        if not found or not found["items"]:
            return None
        kind, rows, groups = (found["items"][name] for name in ("kind", "rows", "groups"))
        return Items(kind, tuple(map(tuple, rows)), tuple(groups))

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json.gz"


def write_json_gz(path: Path, content: dict[str, Any]) -> None:
    """Write a file of compressed JSON: whole, or not at all.

    Raises:
        StoreError: it cannot be written.
    """
    packed = gzip.compress(json.dumps(content, ensure_ascii=False).encode(), mtime=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, packed)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None


def read_json_gz(path: Path) -> dict[str, Any] | None:
    """What a file of `write_json_gz` holds; None where it is missing or broken."""
    try:
        found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError):
        return None
    return found


def items_in(folders: Sequence[Path]) -> Callable[[str], Items | None]:
    """Finds a cell's items by its digest in one of several stores, the last first."""
    stores = [Predictions(folder) for folder in reversed(folders)]

    def look(digest: str) -> Items | None:
        return next((found for store in stores if (found := store.items(digest))), None)

    return look
