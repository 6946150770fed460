"""Sealed files: a SHA-256 of a file's own name and content stands before its content."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from smc_eval.files.atomic import atomic_file

SEAL_BYTES = 32
"""Bytes of the SHA-256 at the start of a sealed file."""
READ_BYTES = 2**20
"""Bytes that are read at once."""


class HashingWriter(io.RawIOBase):
    """Writes to a file, and hashes what it writes. No byte is copied."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__()
        self.file, self.sha = file, _named(name)
        self.error: OSError | None = None
        """The first error of the file. A library that calls `write` may turn it into another type."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        content = memoryview(cast("bytes", data)).cast("B")
        self.sha.update(content)
        try:
            self.file.write(content)
        except OSError as error:
            self.error = self.error or error
            raise
        return len(content)


class SealedContent(io.RawIOBase):
    """The content of a sealed file as a file of its own, which begins after the seal."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self.file = file
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        first = SEAL_BYTES if whence == io.SEEK_SET else 0
        return self.file.seek(offset + first, whence) - SEAL_BYTES

    def tell(self) -> int:
        return self.file.tell() - SEAL_BYTES

    def readinto(self, buffer: object) -> int:
        return cast("io.BufferedReader", self.file).readinto(cast("bytearray", buffer))


def write_sealed(path: Path, name: str, write: Callable[[IO[bytes]], object]) -> None:
    """Replace a file by what `write` writes, sealed under a name, in one step.

    The content is hashed as it is written, so it needs no further memory.

    Raises:
        OSError: the file cannot be written. The file that was there is unchanged.
    """
    with atomic_file(path) as file:
        file.write(bytes(SEAL_BYTES))
        writer = HashingWriter(file, name)
        try:
            write(cast("IO[bytes]", writer))
        except Exception:
            if writer.error:
                raise writer.error from None
            raise
        file.seek(0)
        file.write(writer.sha.digest())


@contextmanager
def open_sealed(path: Path, name: str) -> Iterator[IO[bytes]]:
    """The content of a sealed file, to read, after its seal was checked.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is cut short or altered, or was sealed under another name.
    """
    with path.open("rb") as file:
        seal, sha = file.read(SEAL_BYTES), _named(name)
        while block := file.read(READ_BYTES):
            sha.update(block)
        if sha.digest() != seal:
            raise ValueError(
                f"{path} is cut short or altered, or was sealed under another name: not {name!r}"
            )
        yield cast("IO[bytes]", SealedContent(file))


def _named(name: str) -> hashlib._Hash:
    return hashlib.sha256(f"{name}\n".encode())
