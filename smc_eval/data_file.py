"""A DataFile: a file or folder that a task reads, its address and its checksum."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smc_eval.errors import PluginError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
"""Endings of the addresses of archives."""


@dataclass(frozen=True)
class DataFile:
    """One file or folder that a task reads, in the official layout of its data."""

    path: str
    """Official path, relative to the data folder. The path of a folder ends with `/`."""
    licence: str
    address: str = ""
    """Where it can be downloaded: the file itself, or an archive that holds it under this path. Empty if
    no stable address is known; `note` then names another source."""
    sha256: str = ""
    """Checksum of the file at the address; empty if unknown."""
    bytes: int | None = None
    """Size of the file at the address; None if unknown."""
    note: str = ""
    """Other sources, and files that can replace it."""

    def __post_init__(self) -> None:
        """Refuse a path outside the data folder, and a checksum that is no SHA-256."""
        path = PurePosixPath(self.path)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise PluginError(f"a task needs {self.path!r}; wanted a path under the data folder")
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise PluginError(f"the sha256 of {self.path!r} is {self.sha256!r}; wanted 64 hexadecimal digits")

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.endswith("/")

    @property
    def in_archive(self) -> bool:
        """Whether its address is an archive."""
        return self.address.endswith(ARCHIVES)

    def under(self, root: Path) -> Path | None:
        """Its path under a data folder, plain or `.gz`; None if it is missing or an empty folder."""
        path = root / self.path
        if self.folder:
            return path if path.is_dir() and any(path.iterdir()) else None
        return next((file for file in (path, path.with_name(f"{path.name}.gz")) if file.is_file()), None)
