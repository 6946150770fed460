"""Files that are whole or not there, and whose writers are told by the names they write under."""

from __future__ import annotations

import os
import re
import shutil
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

STALE = 3600.0
"""Seconds after which a file that was never finished is litter, wherever its writer lives."""

EARLIER = re.compile(r"\.[0-9a-f]{64}")
"""Names under which stores were written before they told the writer."""


@dataclass(frozen=True)
class Owner:
    """One holder of one lease, or one writer of one file, as names tell it."""

    host: str
    """For people; two machines may have the same."""
    place: str
    """A boot of a kernel and a namespace of it: where a process number means what it says. May be empty."""
    pid: int
    key: str
    """Nobody else's, ever."""

    @classmethod
    def new(cls) -> Owner:
        """This process, once more."""
        return cls(_host(), _place(), os.getpid(), uuid4().hex)

    @classmethod
    def read(cls, name: str) -> Owner | None:
        """The owner that a name tells; None where it tells none."""
        parts = name.split(",")
        if len(parts) != 4 or not parts[2].isdecimal():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])

    def __str__(self) -> str:
        return f"{self.host},{self.place},{self.pid},{self.key}"

    @property
    def gone(self) -> bool:
        """Whether its process is certainly no more: this very kernel, on which it lived, says so."""
        if not self.place or self.place != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


def write_synced(path: Path, content: bytes) -> None:
    """Write a file, down to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file beside its name, then move it there at once."""
    made = draft_path(path)
    try:
        write_synced(made, content)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def server_time(folder: Path) -> float:
    """Seconds by the clock of whoever keeps a folder."""
    made = folder / f".~{Owner.new()}"
    try:
        made.touch()
        return made.stat().st_mtime
    finally:
        made.unlink(missing_ok=True)


def draft_path(path: Path) -> Path:
    """Where to write a file before it takes its name: a name that tells the writer, and is nobody else's."""
    return path.with_name(f".{path.name}~{Owner.new()}")


def sweep_drafts(folder: Path) -> None:
    """Delete what writers that are no more left unfinished in a folder; nothing that is not ours."""
    now: float | None = None
    for path in folder.glob(".*"):
        owner = Owner.read(path.name.rpartition("~")[2])
        if owner is None and not EARLIER.fullmatch(path.name):
            continue
        try:
            if not (owner and owner.gone):
                now = server_time(folder) if now is None else now
                if now - path.stat().st_mtime < STALE:
                    continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:  # another sweeps here, or it took its name at last
            continue


@cache
def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:60]


@cache
def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return boot + "." + re.sub(r"\D", "", space)
