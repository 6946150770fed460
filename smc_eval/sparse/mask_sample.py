"""Sketches: a mask at a few of its places, so that masks can be compared when their nets are gone."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

PLACES = 2048
"""Most places of a tensor: 256 bytes."""

GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Constants of SplitMix64. Steele, Lea & Flood (2014), "Fast splittable pseudorandom number generators"."""


def sample_masks(masks: Mapping[str, Tensor]) -> dict[str, tuple[int, int, str]]:
    """Of each mask: its weights, the places looked at, its bits there. `store.mask_samples` reads them."""
    found = {}
    for name, mask in masks.items():
        at = torch.from_numpy(places(name, tuple(mask.shape))).to(mask.device)
        bits = np.packbits(mask.reshape(-1)[at].cpu().numpy())
        found[name] = mask.numel(), len(at), base64.b64encode(bits.tobytes()).decode()
    return found


def places(name: str, shape: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where a tensor of this name and shape is looked at: everywhere if it is small, else at random.

    A function of name and shape alone, on any machine, so that all nets are looked at alike. A place
    may be drawn twice.
    """
    size = math.prod(shape)
    if size <= PLACES:
        return np.arange(size, dtype=np.int64)
    seed = hashlib.sha256(f"{name}{tuple(shape)}".encode()).digest()[:8]
    state = np.frombuffer(seed, "<u8") + GOLDEN * np.arange(1, PLACES + 1, dtype=np.uint64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(SECOND)
    drawn = (state ^ (state >> np.uint64(31))) % np.uint64(size)
    return np.asarray(drawn, dtype=np.int64)
