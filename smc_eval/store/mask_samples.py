"""Sketches of masks beside the book of records, and how far two nets' masks agree."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from smc_eval.store.predictions import read_json_gz, write_json_gz

SAMPLES_FOLDER = "mask_samples"
"""Where they lie inside a store, a file a record."""


class MaskSample(NamedTuple):
    """One mask at some of its places, the same for all masks of its name and shape."""

    size: int
    """Weights of the tensor."""
    places: int
    """How many were looked at: all of them where it is as many as `size`."""
    bits: int
    """One a place, the first the highest but for what fills the last byte; 1 stays."""

    @classmethod
    def read(cls, size: int, places: int, bits: str) -> MaskSample:
        """A sketch as it is kept: eight places a byte, the first the highest bit, in base 64."""
        return cls(size, places, int.from_bytes(base64.b64decode(bits, validate=True), "big"))


FindSamples = Callable[[str], Mapping[str, MaskSample] | None]
"""Finds the sketches of a net's masks by the digest of its record."""


class MaskSamples:
    """The sketches of a store's masks, by the digest of the cell; JSON, compressed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / SAMPLES_FOLDER

    def save(self, digest: str, mask_samples: Mapping[str, tuple[int, int, str]]) -> None:
        """Keep one net's sketches, by the names of its tensors: all of them, or nothing.

        Raises:
            StoreError: they cannot be written.
        """
        write_json_gz(self._path(digest), dict(mask_samples))

    def load(self, digest: str) -> dict[str, MaskSample] | None:
        """The sketches of a cell's net; None where they are missing or broken."""
        found = read_json_gz(self._path(digest))
        try:
            return None if found is None else {name: MaskSample.read(*parts) for name, parts in found.items()}
        except (TypeError, ValueError):
            return None

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json.gz"


def samples_in(folders: Sequence[Path]) -> FindSamples:
    """Finds a net's sketches by the digest of its record in one of several stores, the last first."""
    stores = [MaskSamples(folder) for folder in reversed(folders)]
    return lambda digest: next((found for store in stores if (found := store.load(digest))), None)


def iou(first: Mapping[str, MaskSample], second: Mapping[str, MaskSample]) -> tuple[float, float]:
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
