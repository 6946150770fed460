"""What a task needs: a file or folder of the official layout, where it comes from and what it must hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smc_eval.errors import PluginError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
"""How an address ends that is an archive."""


@dataclass(frozen=True)
class DataFile:
    """One file or folder that a task reads, by its official path under the data folder."""

    path: str
    """Of a folder with a `/` at its end."""
    licence: str
    address: str = ""
    """Where it can be fetched, or the archive that holds it under this path; empty where nothing is known
    that stays the same, and `note` says where to look."""
    sha256: str = ""
    """Of what lies at the address, as far as it is known."""
    bytes: int | None = None
    """The same."""
    note: str = ""
    """How else it can be had, and what else may stand in its place."""

    def __post_init__(self) -> None:
        """Refuse what could name a file outside the data folder, or a digest that none can have."""
        path = PurePosixPath(self.path)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise PluginError(f"a task needs {self.path!r}; wanted a path under the data folder")
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise PluginError(f"the sha256 of {self.path!r} is {self.sha256!r}; wanted 64 hexadecimal digits")

    @property
    def folder(self) -> bool:
        """Whether it is one."""
        return self.path.endswith("/")

    @property
    def in_archive(self) -> bool:
        """Whether it comes in an archive."""
        return self.address.endswith(ARCHIVES)

    def under(self, root: Path) -> Path | None:
        """Where it lies under a data folder, plain or `.gz`; a folder that holds nothing is not there."""
        path = root / self.path
        if self.folder:
            return path if path.is_dir() and any(path.iterdir()) else None
        return next((one for one in (path, path.with_name(f"{path.name}.gz")) if one.is_file()), None)
