"""Measured speeds: how long a net takes with dense products and with each kernel, on one machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, NonNegativeInt, PositiveFloat, TypeAdapter, ValidationError

from smc_eval.files.sealed_json import read_sealed_json, write_sealed_json

SPEEDS_FOLDER = "speeds"
"""Their folder inside a store; one file for each cell."""


@dataclass(frozen=True)
class KernelSpeed:
    """A kernel beside dense products: the same net, examples and machine, in turns."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    kernel: str
    layers: NonNegativeInt
    """Layers that it serves; the others stay dense."""
    speed: PositiveFloat
    """Seconds of dense over seconds of the kernel, median of the pairs: above 1 it is faster."""
    low: PositiveFloat
    """First quartile of the pairs."""
    high: PositiveFloat
    """Third quartile."""
    dense_seconds: PositiveFloat
    """Median wall time of all examples, dense."""
    seconds: PositiveFloat
    """Median wall time of all examples with the kernel."""
    dense_bytes: NonNegativeInt
    """Bytes of the served weights, dense."""
    bytes: NonNegativeInt
    """Bytes of the same weights in the kernel's form, with indices."""
    difference: float
    """Largest difference of an output of a served layer from the dense one, as a share of the largest."""
    same: float
    """Share of examples with the same prediction. Nets may decide otherwise where two are nearly equal."""


@dataclass(frozen=True)
class Speeds:
    """All kernels of one cell on one machine."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    kernels: tuple[KernelSpeed, ...]
    absent: dict[str, str]
    """Kernels that serve no layer, and why."""
    examples: int
    pairs: int
    machine: dict[str, Any]
    """Device, threads and versions."""

    @property
    def best(self) -> KernelSpeed | None:
        """The fastest kernel; None if there is none."""
        return max(self.kernels, key=lambda kernel: kernel.speed, default=None)


FindSpeeds = Callable[[str], Speeds | None]
"""Finds the measured speeds of a net by the digest of its record."""


class SpeedFiles:
    """The measured speeds of a store's cells, by the digest of the cell, as compressed JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / SPEEDS_FOLDER

    def save(self, digest: str, speeds: Speeds) -> None:
        """Save those of one cell: all of them, or nothing.

        Raises:
            StoreError: they cannot be written.
        """
        write_sealed_json(self._path(digest), digest, asdict(speeds))

    def load(self, digest: str) -> Speeds | None:
        """Those of a cell; None where they are missing or broken."""
        content = read_sealed_json(self._path(digest), digest)
        if content is None:
            return None
        content.pop("digest", None)
        try:
            return _adapter().validate_python(content)
        except ValidationError:
            return None

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json.gz"


@cache
def _adapter() -> TypeAdapter[Speeds]:
    return TypeAdapter(Speeds)


def speeds_in(folders: Sequence[Path]) -> FindSpeeds:
    """A function that finds a net's speeds by the digest of its record in several stores, the last first."""
    measured = [folder for folder in reversed(folders) if (folder / SPEEDS_FOLDER).is_dir()]
    stores = [SpeedFiles(folder) for folder in measured]
    return lambda digest: next((speeds for store in stores if (speeds := store.load(digest))), None)
