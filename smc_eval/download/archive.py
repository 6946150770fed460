"""Archives: wanted files are unpacked by name, and nothing is written outside the target folder."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from smc_eval.errors import DownloadError

BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
"""Exceptions of Python's readers for archives that are truncated, encrypted or of an unknown format."""


def unpack(archive: Path, address: str, wanted: Sequence[str], into: Path) -> None:
    """Unpack the wanted files into a folder, all or none; a name that ends in `/` is a whole folder.

    The end of `address` gives the format of the archive. Hidden files are left out: they belong to
    the machine that packed the archive.

    Raises:
        DownloadError: the archive cannot be read, lacks a wanted file, or holds a link or a name that
            leads out of the folder; then nothing has been written.
    """
    with tempfile.TemporaryDirectory(dir=into, prefix=".unpacking-") as folder:
        stage = Path(folder)
        try:
            for member, content in _members(archive, zipped=address.endswith(".zip")):
                path = _safe_path(member, address)
                if _is_wanted(path, wanted):
                    _write(stage / path, member, content, address)
        except BROKEN_ARCHIVE as error:
            raise DownloadError(f"{address} is not a complete archive: {error}; fetch it again") from None
        except OSError as error:
            raise DownloadError(f"cannot unpack {address}: {error.strerror or error}") from None
        if missing := [name for name in wanted if not (stage / name).exists()]:
            raise DownloadError(f"the archive {address} holds no {missing[0]}; download the file by hand")
        for name in wanted:
            _move(stage / name, into / name)


def _members(archive: Path, *, zipped: bool) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Names and contents of all members but folders; None for links and devices."""
    if zipped:
        with zipfile.ZipFile(archive) as pack:
            for entry in pack.infolist():
                if not entry.is_dir():
                    with pack.open(entry) as content:
                        yield entry.filename, content
        return
    with _decompressed(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tape:
        for member in tape:
            if not member.isdir():
                yield member.name, tape.extractfile(member) if member.isfile() else None
        while stream.read(1 << 20):  # to the end, so that gzip checks its own checksum
            pass


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as stream:
        gzipped = stream.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(archive) if gzipped else archive.open("rb"))


def _safe_path(member: str, address: str) -> PurePosixPath:
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or PureWindowsPath(member).drive:
        raise DownloadError(
            f"the archive {address} holds {member!r}, which leads out of its folder; nothing was unpacked"
        )
    return path


def _is_wanted(path: PurePosixPath, wanted: Sequence[str]) -> bool:
    if path.name.startswith("."):
        return False
    return any(f"{path}".startswith(name) if name.endswith("/") else f"{path}" == name for name in wanted)


def _write(path: Path, member: str, content: IO[bytes] | None, address: str) -> None:
    if content is None:
        raise DownloadError(f"the archive {address} holds {member!r}, a link or device; nothing was unpacked")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        shutil.copyfileobj(content, stream)


def _move(staged: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        target.rmdir()  # it is empty: a folder with files would not be wanted
    staged.replace(target)
