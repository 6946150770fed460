"""Predictions: the output of a net for each example, and each example's part of the score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

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
        content = self._content(digest)
        return content["predicted"] if content else None

    def items(self, digest: str) -> Items | None:
        """Each example's part of a cell's score; None where it is missing or broken."""
        content = self._content(digest)
        return items_of(content["items"]) if content and content["items"] else None

    def _content(self, digest: str) -> dict[str, Any] | None:
        """The content of a cell's file; None where it is missing, or is none that `save` writes."""
        content = read_sealed_json(self._path(digest), digest)
        if not content or not isinstance(content.get("predicted"), list) or "items" not in content:
            return None
        if content["items"] and items_of(content["items"]) is None:
            return None
        return content

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json.gz"


def items_of(plain: object) -> Items | None:
    """The items of plain JSON values; None where a part is missing, of another type or not finite."""
    try:
        items = _adapter().validate_python(plain)
    except ValidationError:
        return None
    widths = {len(row) for row in items.rows}
    fits = len(widths) <= 1 and len(items.groups) in {0, len(items.rows)}
    return items if fits and all(isfinite(value) for row in items.rows for value in row) else None


@cache
def _adapter() -> TypeAdapter[Items]:
    return TypeAdapter(Items)


def items_in(folders: Sequence[Path]) -> Callable[[str], Items | None]:
    """A function that finds a cell's items by its digest in several stores, the last first."""
    stores = [Predictions(folder) for folder in reversed(folders)]

    def find(digest: str) -> Items | None:
        return next((items for store in stores if (items := store.items(digest))), None)

    return find
