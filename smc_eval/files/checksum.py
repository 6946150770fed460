"""Checksums: SHA-256 of one file, and of several values together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 of the bytes of a file, as hexadecimal digits; OSError where it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_sha256_once(path: Path) -> str:
    """The same, computed again only if the size or the modification time of the file differs."""
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256_of(path: Path, _size: int, _changed: int) -> str:
    return file_sha256(path)


def combined_sha256(parts: Iterable[str]) -> str:
    """SHA-256 over several SHA-256 values, in order.

    Each part has a fixed length, so different lists of parts never give the same bytes.
    """
    whole = hashlib.sha256()
    for part in parts:
        whole.update(bytes.fromhex(part))
    return whole.hexdigest()
