"""Masks as bits: packed for the disk, hashed for the record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor

from smc_eval.exported.bits import packed, unpacked

__all__ = ["mask_digest", "packed", "unpacked"]


def mask_digest(masks: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bits: equal on any machine for equal masks."""
    total = hashlib.sha256()
    for name in sorted(masks):
        total.update(f"{name}{tuple(masks[name].shape)}".encode())
        total.update(packed(masks[name]).numpy().tobytes())
    return total.hexdigest()
