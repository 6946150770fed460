"""Checksums: SHA-256 of one file, and of several together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 of the bytes of a file, as hexadecimal digits; OSError where it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def combined_sha256(parts: Iterable[str]) -> str:
    """SHA-256 over the SHA-256 of several things, in order.

    Each part has a fixed length, so no two lists of parts read the same.
    """
    whole = hashlib.sha256()
    for part in parts:
        whole.update(bytes.fromhex(part))
    return whole.hexdigest()
