"""Masks as bits: packed for the disk, hashed for the record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
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
    """A mask as bits: eight to a byte, the first in the lowest bit; flat, on the CPU, as uint8."""
    return torch.from_numpy(np.packbits(mask.detach().cpu().numpy(), bitorder="little"))


def unpacked(bits: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """The mask of the bits that `packed` returned, as bool on the CPU."""
    count = int(torch.Size(shape).numel())
    flat = np.unpackbits(bits.numpy(), count=count, bitorder="little")
    return torch.from_numpy(flat).view(torch.bool).reshape(shape)
