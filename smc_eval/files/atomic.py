"""Atomic writes: a file is whole or absent, and a draft names the process that writes it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO
from uuid import uuid4

STALE = 3600.0
"""Seconds after which an unfinished draft is deleted, whichever machine its writer ran on."""


@dataclass(frozen=True)
class Owner:
    """The holder of one lease, or the writer of one draft, as file names store it."""

    host: str
    """Host name, for messages only: two machines may have the same."""
    kernel: str
    """Boot id and process namespace, within which a process number is unique. Empty where unknown."""
    pid: int
    key: str
    """A random name that no other owner has."""

    @classmethod
    def new(cls) -> Owner:
        """A new owner for this process."""
        return cls(_host(), _kernel(), os.getpid(), uuid4().hex)

    @classmethod
    def read(cls, name: str) -> Owner | None:
        """The owner in a file name; None where the name has none."""
        parts = name.split(",")
        if len(parts) != 4 or not parts[2].isdecimal():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])

    def __str__(self) -> str:
        return f"{self.host},{self.kernel},{self.pid},{self.key}"

    @property
    def exited(self) -> bool:
        """Whether its process has certainly ended: it ran on this kernel, which no longer has it."""
        if not self.kernel or self.kernel != _kernel():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and flush it to disk."""
    path.write_bytes(content)
    sync(path)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A draft beside a file, open to write. At the end of the block it gets the file's name, on disk.

    After an error the draft is deleted, and the file is unchanged.
    """
    draft = draft_path(path)
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file by this content, in one step."""
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder beside a path, to fill. At the end of the block it gets the path's name, on disk.

    After an error it is deleted. A process that is killed leaves a draft, which the next call sweeps.

    Raises:
        FileExistsError: something has the name, also if it appeared meanwhile.
        OSError: it cannot be written.
    """
    sweep_drafts(path.parent)
    _refuse_existing(path)
    draft = draft_path(path)
    draft.mkdir()
    try:
        yield draft
        for part in sorted(draft.rglob("*"), reverse=True):
            sync(part)
        sync(draft)
        _refuse_existing(path)  # a rename would replace an empty folder
        draft.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk. Else a power failure may undo a rename."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if path.is_file() or error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # folders of some drives
            raise
    finally:
        os.close(handle)


def server_time(folder: Path) -> float:
    """Seconds by the clock of the file server that holds a folder."""
    draft = folder / f".~{Owner.new()}"
    try:
        draft.touch()
        return draft.stat().st_mtime
    finally:
        draft.unlink(missing_ok=True)


def draft_path(path: Path) -> Path:
    """The path of a new draft of a file. Its name holds the writer, and no other draft has it."""
    return path.with_name(f".{path.name}~{Owner.new()}")


def sweep_drafts(folder: Path) -> None:
    """Delete the drafts in a folder whose writers have ended. Other files stay."""
    now: float | None = None
    for path in folder.glob(".*"):
        owner = Owner.read(path.name.rpartition("~")[2])
        if owner is None:
            continue
        try:
            if not owner.exited:
                now = server_time(folder) if now is None else now
                if now - path.stat().st_mtime < STALE:
                    continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:  # another process sweeps too, or the draft got its name
            continue


@cache
def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:60]


@cache
def _kernel() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return boot + "." + re.sub(r"\D", "", space)
