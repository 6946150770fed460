"""From proteins to a batch of tensors.

Shapes: N proteins, L tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smc_eval.tasks.protein.alphabet import Alphabet
from smc_eval.tasks.protein.example import Protein


@dataclass(frozen=True)
class ProteinBatch:
    """Proteins, padded."""

    ids_NL: Tensor
    real_NL: Tensor
    """Which tokens are not padding. The encoder attends to them."""
    pooled_NL: Tensor
    """Which tokens are averaged to the feature: residues, and the tokens after them."""
    answers_N: Tensor
    """Classes, or degrees Celsius; in fp32, which is exact enough for both."""


def batch_of(proteins: Sequence[Protein], alphabet: Alphabet, most: int | None) -> ProteinBatch:
    """The proteins as tensors, each truncated to its first `most` residues."""
    encoded = [alphabet.encode(protein.sequence, most) for protein in proteins]
    lengths_N = torch.tensor([len(ids) for ids in encoded])
    longest = int(lengths_N.max())
    places_L = torch.arange(longest)
    real_NL = places_L < lengths_N[:, None]
    return ProteinBatch(
        ids_NL=torch.tensor([ids + [alphabet.padding] * (longest - len(ids)) for ids in encoded]),
        real_NL=real_NL,
        pooled_NL=real_NL & (places_L >= len(alphabet.before)),
        answers_N=torch.tensor([protein.answer for protein in proteins], dtype=torch.float32),
    )
