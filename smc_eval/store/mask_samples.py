"""Mask samples: masks at some of their places, and how far the masks of two nets agree."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from smc_eval.files.sealed_json import read_sealed_json, write_sealed_json

SAMPLES_FOLDER = "mask_samples"
"""Their folder inside a store; one file for each record."""


class MaskSample(NamedTuple):
    """One mask at some of its places, the same places for all masks of its name and shape."""

    size: int
    """Weights of the tensor."""
    places: int
    """Number of places in the sample; equal to `size` where the sample is the whole mask."""
    bits: int
    """One bit for each place, the first place highest, zeros after the last; 1 is an unpruned weight."""

    @classmethod
    def read(cls, size: int, places: int, bits: str) -> MaskSample:
        """A sample as it is stored: eight places a byte, the first the highest bit, in base 64."""
        if not (type(size) is type(places) is int and 0 <= places <= size):
            raise ValueError(f"{places!r} of {size!r} is no number of places")
        return cls(size, places, int.from_bytes(base64.b64decode(bits, validate=True), "big"))


FindSamples = Callable[[str], Mapping[str, MaskSample] | None]
"""Finds the mask samples of a net by the digest of its record."""


class MaskSamples:
    """The mask samples of a store, by the digest of the cell, as compressed JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / SAMPLES_FOLDER

    def save(self, digest: str, mask_samples: Mapping[str, tuple[int, int, str]]) -> None:
        """Save one net's samples, by the names of its tensors: all of them, or nothing.

        Raises:
            StoreError: they cannot be written.
        """
        write_sealed_json(self._path(digest), digest, {"samples": dict(mask_samples)})

    def load(self, digest: str) -> dict[str, MaskSample] | None:
        """The samples of a cell's net; None where they are missing or broken."""
        content = read_sealed_json(self._path(digest), digest)
        try:
            if content is None:
                return None
            return {name: MaskSample.read(*parts) for name, parts in content["samples"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json.gz"


def samples_in(folders: Sequence[Path]) -> FindSamples:
    """A function that finds a net's samples by the digest of its record in several stores, the last first."""
    stores = [MaskSamples(folder) for folder in reversed(folders)]
    return lambda digest: next((samples for store in stores if (samples := store.load(digest))), None)


def iou(first: Mapping[str, MaskSample], second: Mapping[str, MaskSample]) -> tuple[float, float]:
    """Agreement of two nets' masks, as intersection over union of their unpruned weights, and its
    standard error.

    A ratio of two totals, each estimated tensor by tensor. The error is the linearised one of a
    stratified sample, and 0 where the samples are whole masks. nan where neither net has unpruned
    weights, or where the nets have no tensor in common; tensors of only one net are left out.
    """
    both = either = 0.0
    sampled = []
    for name in first.keys() & second.keys():
        a, b = first[name], second[name]
        if (a.size, a.places) != (b.size, b.places) or not a.places:
            continue
        shared = (a.bits & b.bits).bit_count() / a.places
        joined = (a.bits | b.bits).bit_count() / a.places
        both += a.size * shared
        either += a.size * joined
        if a.places < a.size:
            sampled.append((a.size, a.places, shared, joined))
    if not either:
        return math.nan, math.nan
    value = both / either
    # of a place, both - value * either: the mean is shared - value * joined, a square (1 - value)² or value²
    variance = sum(
        size**2
        / max(1, places - 1)
        * (shared * (1 - value) ** 2 + (joined - shared) * value**2 - (shared - value * joined) ** 2)
        for size, places, shared, joined in sampled
    )
    return value, math.sqrt(max(0.0, variance)) / either
