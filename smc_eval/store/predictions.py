"""Predictions: the output of a net for each example, and each example's part of the score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smc_eval.files.sealed_json import read_sealed_json, write_sealed_json
from smc_eval.score import Items

PREDICTIONS_FOLDER = "predictions"
"""Their folder inside a store; one file for each record."""


class Predictions:
    """The predictions of a store's cells, by the digest of the cell, as compressed JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / PREDICTIONS_FOLDER

    def save(self, digest: str, predicted: Sequence[Any], items: Items | None) -> None:
        """Save one cell's predictions: all of them, or nothing.

        Raises:
            StoreError: they cannot be written.
        """
        content = {"predicted": list(predicted), "items": asdict(items) if items else None}
        write_sealed_json(self._path(digest), digest, content)

    def predicted(self, digest: str) -> list[Any] | None:
        """The predictions of a cell in the order of its examples; None where they are missing or broken."""
        content = read_sealed_json(self._path(digest), digest)
        return content["predicted"] if content else None

    def items(self, digest: str) -> Items | None:
        """Each example's part of a cell's score; None where it is missing or broken."""
        content = read_sealed_json(self._path(digest), digest)
        if not content or not content["items"]:
            return None
        kind, rows, groups = (content["items"][name] for name in ("kind", "rows", "groups"))
        return Items(kind, tuple(map(tuple, rows)), tuple(groups))

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json.gz"


def items_in(folders: Sequence[Path]) -> Callable[[str], Items | None]:
    """A function that finds a cell's items by its digest in several stores, the last first."""
    stores = [Predictions(folder) for folder in reversed(folders)]

    def find(digest: str) -> Items | None:
        return next((items for store in stores if (items := store.items(digest))), None)

    return find
