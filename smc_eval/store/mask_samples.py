"""Sketches of masks beside the book of records, and how far two nets' masks agree."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from smc_eval.store.predictions import keep, told

FOLDER = "sketches"
"""Where they lie inside a store, a file a record."""


class Sketch(NamedTuple):
    """One mask at some of its places, the same for all masks of its name and shape."""

    size: int
    """Weights of the tensor."""
    places: int
    """How many were looked at: all of them where it is as many as `size`."""
    bits: int
    """One a place, the first the highest but for what fills the last byte; 1 stays."""

    @classmethod
    def read(cls, size: int, places: int, bits: str) -> Sketch:
        """A sketch as it is kept: eight places a byte, the first the highest bit, in base 64."""
        return cls(size, places, int.from_bytes(base64.b64decode(bits, validate=True), "big"))


Sketched = Callable[[str], Mapping[str, Sketch] | None]
"""Finds the sketches of a net's masks by the digest of its record."""


class Sketches:
    """The sketches of a store's masks, by the digest of the cell; JSON, compressed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def save(self, digest: str, sketches: Mapping[str, tuple[int, int, str]]) -> None:
        """Keep one net's sketches, by the names of its tensors: all of them, or nothing.

        Raises:
            StoreError: they cannot be written.
        """
        keep(self._path(digest), dict(sketches))

    def load(self, digest: str) -> dict[str, Sketch] | None:
        """The sketches of a cell's net; None where they are missing or broken."""
        found = told(self._path(digest))
        try:
            return None if found is None else {name: Sketch.read(*parts) for name, parts in found.items()}
        except (TypeError, ValueError):
            return None

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json.gz"


def kept(folders: Sequence[Path]) -> Sketched:
    """Finds a net's sketches by the digest of its record in one of several stores, the last first."""
    stores = [Sketches(folder) for folder in reversed(folders)]
    return lambda digest: next((found for store in stores if (found := store.load(digest))), None)


def iou(first: Mapping[str, Sketch], second: Mapping[str, Sketch]) -> tuple[float, float]:
    """Agreement of two nets' masks, weights that both keep over weights that either keeps, and its
    standard error.

    A ratio of two totals, each estimated tensor by tensor; the error is the linearised one of a
    stratified sample, and 0 where every place is kept. nan where neither keeps any weight, or where
    the nets have no tensor in common; what only one of them has is left out.
    """
    both = either = 0.0
    seen = []
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        if (one.size, one.places) != (other.size, other.places) or not one.places:
            continue
        shared = (one.bits & other.bits).bit_count() / one.places
        joined = (one.bits | other.bits).bit_count() / one.places
        both += one.size * shared
        either += one.size * joined
        if one.places < one.size:
            seen.append((one.size, one.places, shared, joined))
    if not either:
        return math.nan, math.nan
    value = both / either
    # of a place, both - value * either: the mean is shared - value * joined, a square (1 - value)² or value²
    variance = sum(
        size**2
        / (places - 1)
        * (shared * (1 - value) ** 2 + (joined - shared) * value**2 - (shared - value * joined) ** 2)
        for size, places, shared, joined in seen
    )
    return value, math.sqrt(max(0.0, variance)) / either
