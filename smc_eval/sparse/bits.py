"""Masks as bits: packed for the disk, hashed for the record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def mask_digest(masks: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bits: equal on any machine for equal masks."""
    total = hashlib.sha256()
    for name in sorted(masks):
        total.update(f"{name}{tuple(masks[name].shape)}".encode())
        total.update(packed(masks[name]).numpy().tobytes())
    return total.hexdigest()


def packed(mask: Tensor) -> Tensor:
    """A mask as bits, eight to a byte, flat and on the CPU, as uint8."""
    bits = mask.detach().cpu().reshape(-1).to(torch.uint8)
    bits = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).view(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def unpacked(bits: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """The mask that `packed` made these bits of, as bool on the CPU."""
    flat = (bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return flat.reshape(-1)[: int(torch.Size(shape).numel())].reshape(shape).bool()
