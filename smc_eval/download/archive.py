"""Archives: what is wanted is taken out by name, and nothing can leave the folder it is put into."""

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

from smc_eval.errors import DataError

BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
"""What Python's readers raise for archives that are cut short, encrypted or packed in an unknown way."""


def unpack(archive: Path, address: str, wanted: Sequence[str], into: Path) -> None:
    """Put wanted files, and folders by a `/` at the end, into a folder; each is there whole or not at all.

    `address` says by its end what kind of archive it is. Hidden files are left out: they belong to the
    machine on which it was packed.

    Raises:
        DataError: it cannot be read, lacks what is wanted, or holds a name that leads out of the folder,
            or a link; then nothing has been put there.
    """
    with tempfile.TemporaryDirectory(dir=into, prefix=".unpacking-") as name:
        stage = Path(name)
        try:
            for member, content in _members(archive, zipped=address.endswith(".zip")):
                path = _safe(member, address)
                if _belongs(path, wanted):
                    _lay(stage / path, member, content, address)
        except BROKEN_ARCHIVE as error:
            raise DataError(f"{address} is no whole archive: {error}; fetch it again") from None
        except OSError as error:
            raise DataError(f"cannot unpack {address}: {error.strerror or error}") from None
        if lacking := [one for one in wanted if not (stage / one).exists()]:
            raise DataError(f"the archive {address} holds no {lacking[0]}; get the file by hand")
        for one in wanted:
            _move(stage / one, into / one)


def _members(archive: Path, *, zipped: bool) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Names and contents of all but folders; None where it is no plain file."""
    if zipped:
        with zipfile.ZipFile(archive) as pack:
            for entry in pack.infolist():
                if not entry.is_dir():
                    with pack.open(entry) as content:
                        yield entry.filename, content
        return
    with _plain(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tape:
        for member in tape:
            if not member.isdir():
                yield member.name, tape.extractfile(member) if member.isfile() else None
        while stream.read(1 << 20):  # to the end, where gzip's own checksum stands
            pass


def _plain(archive: Path) -> IO[bytes]:
    with archive.open("rb") as stream:
        gzipped = stream.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(archive) if gzipped else archive.open("rb"))


def _safe(member: str, address: str) -> PurePosixPath:
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or PureWindowsPath(member).drive:
        raise DataError(
            f"the archive {address} holds {member!r}, which leads out of its folder; it is not unpacked"
        )
    return path


def _belongs(path: PurePosixPath, wanted: Sequence[str]) -> bool:
    if path.name.startswith("."):
        return False
    return any(f"{path}".startswith(one) if one.endswith("/") else f"{path}" == one for one in wanted)


def _lay(path: Path, member: str, content: IO[bytes] | None, address: str) -> None:
    if content is None:
        raise DataError(f"the archive {address} holds {member!r}, a link or device; it is not unpacked")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        shutil.copyfileobj(content, stream)


def _move(staged: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        target.rmdir()  # it holds nothing, or it would not be wanted
    staged.replace(target)
