"""From folded proteins to a batch of tensors.

Shapes: N proteins, L places of the longest: its residues, with a begin before and an end after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smc_eval_structures.folded import FoldedProtein

ENDS = 2
"""Places beside the residues."""


@dataclass(frozen=True)
class StructureBatch:
    """Backbones, padded."""

    atoms_NL33: Tensor
    """N, CA and C in Å, seen from the mean of all CA; zeros where there are no coordinates."""
    present_NL: Tensor
    """Which places have coordinates."""
    real_NL: Tensor
    """Which places are not padding."""
    pooled_NL: Tensor
    """Which places are averaged to the feature: all residues, also missing ones, and no begin or end."""
    answers_N: Tensor
    """Classes, or degrees Celsius; in fp32, which is exact enough for both."""


def batch_of(proteins: Sequence[FoldedProtein], most: int | None) -> StructureBatch:
    """The proteins as tensors, each truncated to its first `most` residues."""
    backbones = [protein.backbone.atoms_L33[:most] for protein in proteins]
    lengths_N = torch.tensor([len(backbone) for backbone in backbones])
    places = int(lengths_N.max()) + ENDS
    atoms_NL33 = torch.zeros(len(proteins), places, 3, 3)
    present_NL = torch.zeros(len(proteins), places, dtype=torch.bool)
    for at, backbone_L33 in enumerate(backbones):
        centred_L33, present_L = centred(backbone_L33)
        atoms_NL33[at, 1 : 1 + len(centred_L33)] = torch.from_numpy(centred_L33)
        present_NL[at, 1 : 1 + len(centred_L33)] = torch.from_numpy(present_L)
    places_L = torch.arange(places)
    return StructureBatch(
        atoms_NL33=atoms_NL33,
        present_NL=present_NL,
        real_NL=places_L < (lengths_N + ENDS)[:, None],
        pooled_NL=(places_L > 0) & (places_L <= lengths_N[:, None]),
        answers_N=torch.tensor([protein.answer for protein in proteins], dtype=torch.float32),
    )


def centred(atoms_L33: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates seen from the mean of all CA, 0 in missing residues; and which residues are not missing.

    The encoder takes places without coordinates as lying in the origin, also begin and end. So its states
    depend on the origin, and this one moves with the protein.
    """
    present_L = np.isfinite(atoms_L33).all((1, 2))
    if not present_L.any():  # all of the residues that are read
        return np.zeros_like(atoms_L33), present_L
    middle_3 = atoms_L33[present_L, 1].mean(0, dtype=np.float64)
    moved_L33 = (atoms_L33 - middle_3).astype(np.float32)
    return np.where(present_L[:, None, None], moved_L33, np.float32(0)), present_L
