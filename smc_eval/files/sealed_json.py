"""Sealed JSON: compressed files that name the digest they belong to, and seal their content."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from smc_eval.errors import StoreError
from smc_eval.files.atomic import write_atomic

HEADER = b"\x1f\x8b\x08" + bytes(5)
"""The first bytes of a file: gzip without a name or a time."""


def write_sealed_json(path: Path, digest: str, content: dict[str, Any]) -> None:
    """Write a file of compressed JSON: whole, or not at all. The keys `digest` and `seal` are added.

    Raises:
        StoreError: it cannot be written.
    """
    content = {"digest": digest, **content}
    text = json.dumps({**content, "seal": _seal(content)}, ensure_ascii=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, gzip.compress(text.encode(), mtime=0))
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None


def read_sealed_json(path: Path, digest: str) -> dict[str, Any] | None:
    """The content of such a file; None where it is missing, cut short, altered or of another digest."""
    try:
        compressed = path.read_bytes()
        content: dict[str, Any] = json.loads(gzip.decompress(compressed))
        seal = content.pop("seal")
        whole = content["digest"] == digest and seal == _seal(content) and compressed[:8] == HEADER
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error):
        return None
    return content if whole else None


def _seal(content: dict[str, Any]) -> str:
    """SHA-256 of the JSON, which is the same again after it was read."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
