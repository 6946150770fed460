"""Mask samples: a mask at some of its places, so that masks can be compared without their nets."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

MAX_PLACES = 2048
"""Sampled places of a tensor at most: 256 bytes."""

GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Constants of SplitMix64. Steele, Lea & Flood (2014), "Fast splittable pseudorandom number generators"."""


def sample_masks(masks: Mapping[str, Tensor]) -> dict[str, tuple[int, int, str]]:
    """For each mask: its size, the number of sampled places, and its bits there.

    `store.mask_samples` reads them.
    """
    samples = {}
    for name, mask in masks.items():
        at = torch.from_numpy(sample_places(name, tuple(mask.shape))).to(mask.device)
        bits = np.packbits(mask.reshape(-1)[at].cpu().numpy())
        samples[name] = mask.numel(), len(at), base64.b64encode(bits.tobytes()).decode()
    return samples


def sample_places(name: str, shape: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Sampled flat places of a tensor of this name and shape: all if it is small, else random ones.

    A function of name and shape alone, on any machine, so that masks of all nets are sampled at the same
    places. A place may occur twice.
    """
    size = math.prod(shape)
    if size <= MAX_PLACES:
        return np.arange(size, dtype=np.int64)
    seed = hashlib.sha256(f"{name}{tuple(shape)}".encode()).digest()[:8]
    state = np.frombuffer(seed, "<u8") + GOLDEN * np.arange(1, MAX_PLACES + 1, dtype=np.uint64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(SECOND)
    drawn = (state ^ (state >> np.uint64(31))) % np.uint64(size)
    return np.asarray(drawn, dtype=np.int64)
