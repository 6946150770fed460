"""Geometry of backbones: unit vectors, local frames, torsion angles, directions, and smooth bins.

Features of Jing et al. (2021), arXiv:2009.01411, after Ingraham et al. (2019).
Shapes: N proteins, L places, 3 atoms N, CA, C or 3 coordinates in Å, B bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL = 1e-8
"""Added under square roots: the length of a zero vector has a gradient, and its direction is zero."""

BINS = 16

COSINE_LIMIT = 1 - 1e-7
"""The arc cosine has no finite gradient at 1."""


def length(vectors: Tensor, dim: int = -1, *, keepdim: bool = False) -> Tensor:
    """Euclidean length along a dimension, never quite zero."""
    return (vectors.square().sum(dim, keepdim=keepdim) + SMALL).sqrt()


def direction(vectors: Tensor) -> Tensor:
    """Unit vectors along the last dimension; the direction of a zero vector is zero."""
    return vectors / length(vectors, keepdim=True)


def smooth_bins(values: Tensor, low: float, high: float) -> Tensor:
    """Gaussians around `BINS` centres from low to high, as wide as a bin: shape [..., B]."""
    centres_B = torch.linspace(low, high, BINS, device=values.device)
    return torch.exp(-(((values[..., None] - centres_B) / ((high - low) / BINS)) ** 2))


def torsions(atoms_NL33: Tensor, unit: Callable[[Tensor], Tensor] = direction) -> Tensor:
    """Cosines and sines of phi, psi and omega: shape [N, L, 6].

    The three angles of a place are those around its bonds N-CA and CA-C, and around C-N to the next place.
    Where a chain begins or ends, an angle that does not exist counts as 0. `unit` makes vectors unit vectors.
    """
    bonds_NB3 = unit(atoms_NL33.flatten(1, 2).diff(dim=1))
    normals_NB3 = unit(torch.cross(bonds_NB3[:, :-1], bonds_NB3[:, 1:], dim=-1))
    cosines = (normals_NB3[:, :-1] * normals_NB3[:, 1:]).sum(-1)
    side = (bonds_NB3[:, :-2] * normals_NB3[:, 1:]).sum(-1).sign()
    angles = side * cosines.clamp(-COSINE_LIMIT, COSINE_LIMIT).acos()
    angles_NL3 = F.pad(angles, (1, 2)).reshape(len(angles), -1, 3)
    return torch.cat([angles_NL3.cos(), angles_NL3.sin()], dim=-1)


def neighbour_directions(atoms_NL33: Tensor) -> Tensor:
    """Directions from each CA to the next one and to the one before: shape [N, L, 2, 3], 0 at the ends."""
    forward = direction(atoms_NL33[:, :, 1].diff(dim=1))
    return torch.stack([F.pad(forward, (0, 0, 0, 1)), F.pad(-forward, (0, 0, 1, 0))], dim=2)


def side_chain_directions(atoms_NL33: Tensor) -> Tensor:
    """Where CB would be, seen from CA, in a residue of ideal angles: shape [N, L, 3]."""
    to_n, to_c = (direction(atoms_NL33[:, :, atom] - atoms_NL33[:, :, 1]) for atom in (0, 2))
    bisector, normal = direction(to_c + to_n), direction(torch.cross(to_c, to_n, dim=-1))
    return -math.sqrt(1 / 3) * bisector - math.sqrt(2 / 3) * normal


def local_frames(atoms_NL33: Tensor) -> Tensor:
    """The axes of each residue as rows: along CA-C, towards N, and their cross product: [N, L, 3, 3].

    All three are zero in a residue whose atoms coincide.
    """
    along = direction(atoms_NL33[:, :, 2] - atoms_NL33[:, :, 1])
    to_n = atoms_NL33[:, :, 0] - atoms_NL33[:, :, 1]
    across = direction(to_n - along * (along * to_n).sum(-1, keepdim=True))
    return torch.stack([along, across, torch.cross(along, across, dim=-1)], dim=-2)


def in_frames(vectors: Tensor, frames: Tensor) -> Tensor:
    """Vectors [..., V, 3] by their coordinates in frames [..., 3, 3], flat: [..., V * 3]."""
    return (vectors @ frames.mT).flatten(-2)
