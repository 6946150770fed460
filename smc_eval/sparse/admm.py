"""ADMM with a limit on the number of weights: which of a layer's weights stay, and their values.

Meng et al. (2024), arXiv:2406.07831: ADMM finds the support (algorithm 1), conjugate gradients then find the
weights on it (algorithm 2). Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from smc_eval.sparse.distribution import share_out
from smc_eval.sparse.input_stats import Band
from smc_eval.sparse.projection import Projection
from smc_eval.sparse.quota import PlainQuota

EVERY = 3
"""Iterations between two looks at the support."""

GROWTH = ((0.1, 1.3), (0.005, 1.2))
"""Where more than this share of the kept weights changed places, the penalty grows by this factor."""

SLOW_GROWTH = 1.1
"""The factor where fewer weights changed places."""

STABLE = 0.0003
"""From `PATIENCE` iterations on, fewer changes than this share of the kept weights are the end."""

PATIENCE = 30

PENALTIES = (1e-6, 1e6)
"""The least and the largest penalty."""


@dataclass(frozen=True)
class Layer:
    """The error of a layer, (W - W0) H (W - W0)^T summed over its outputs, and the weights that may stay.

    Weights are in units in which H has a unit diagonal: w_i sqrt(H_ii). H is the Gram matrix of the inputs
    plus damping times the mean of its diagonal.
    """

    dense_OI: Tensor
    """The weights W0."""
    within_OI: Tensor
    """Only weights that are True here may stay."""
    h_II: Tensor
    """H, in double precision."""
    unit_I: Tensor
    """The units: weights are divided by them in the end."""
    quota: PlainQuota
    """How many weights stay, or N of every M along a row."""

    @classmethod
    def of(
        cls, weight_OI: Tensor, within_OI: Tensor, gram_II: Tensor, quota: PlainQuota, damping: float
    ) -> Layer:
        """A layer of these weights, whose inputs have this Gram matrix."""
        h_II = gram_II.to(torch.float64, copy=True)
        diagonal_I = h_II.diagonal()
        diagonal_I += damping * diagonal_I.mean()
        unit_I = diagonal_I.sqrt()
        return cls(
            weight_OI * unit_I.to(weight_OI.dtype), within_OI, h_II / unit_I / unit_I[:, None], unit_I, quota
        )

    @property
    def products_OI(self) -> Tensor:
        """W0 H."""
        return self.dense_OI @ self.h_II.to(self.dense_OI.dtype)


@dataclass(frozen=True)
class Search:
    """The settings of ADMM; the defaults are those of the authors' code."""

    damping: float = 0.01
    """Added to the diagonal of the Gram matrix of the inputs, as a share of its mean."""
    penalty: float = 0.1
    """The first penalty."""
    iterations: int = 300
    """Iterations of ADMM, at most."""
    refinements: int = 10
    """Steps of conjugate gradients on the support."""


@torch.no_grad()
def admm(
    weight_OI: Tensor, within_OI: Tensor, bands: Iterable[Band], quota: PlainQuota, search: Search
) -> tuple[Tensor, Tensor]:
    """Mask and new values of a tensor that nearly keep its outputs on its inputs.

    Pruned weights (False in `within_OI`) stay pruned. Outputs that multiplied other inputs (bands) share
    the quota in proportion to their weights. Where nothing is pruned, weights keep their values. Where
    no input was seen, or all were 0, the largest magnitudes stay, with their values.
    """
    new_OI, mask_OI = weight_OI.clone(), torch.zeros_like(within_OI)
    bands = list(bands)
    quotas: Mapping[int, PlainQuota] = dict.fromkeys(range(len(bands)), quota)
    if isinstance(quota, int):
        sizes = {at: weight_OI[rows].numel() for at, (rows, _) in enumerate(bands)}
        ceilings = {at: int(within_OI[rows].count_nonzero()) for at, (rows, _) in enumerate(bands)}
        quotas = share_out(quota, sizes, ceilings)
    for at, (rows, gram_II) in enumerate(bands):
        mask_OI[rows], new_OI[rows] = _solved(weight_OI[rows], within_OI[rows], gram_II, quotas[at], search)
    return mask_OI, new_OI * mask_OI


def _solved(
    weight_OI: Tensor, within_OI: Tensor, gram_II: Tensor | None, quota: PlainQuota, search: Search
) -> tuple[Tensor, Tensor]:
    """Mask and new values of outputs that multiplied the same inputs."""
    if gram_II is None or not bool(gram_II.any()):
        return Projection(within_OI, quota)(weight_OI), weight_OI
    if quota == int(within_OI.count_nonzero()):
        return within_OI, weight_OI
    layer = Layer.of(weight_OI, within_OI, gram_II, quota, search.damping)
    mask_OI, values_OI = find_support(layer, search.penalty, search.iterations)
    values_OI = refine(layer, mask_OI, values_OI, search.refinements)
    return mask_OI, values_OI / layer.unit_I.to(values_OI.dtype)


def find_support(layer: Layer, penalty: float, iterations: int) -> tuple[Tensor, Tensor]:
    """Mask of the weights that stay, and first values of them; algorithm 1.

    W minimizes the error plus penalty |W - D + U|^2, D is the nearest to W + U that meets the quota, and
    U adds up W - D. D starts at the largest weights, U at 0. After each third iteration the penalty grows,
    faster where more weights changed places in the support, and ADMM ends where none did. As in the
    authors' code, a first penalty under which the support hardly changes is divided by five, and ADMM begins
    again; where it never changes, the largest weights stay.
    """
    dtype, goal_OI = layer.dense_OI.dtype, layer.products_OI
    roots_I, basis_II = torch.linalg.eigh(layer.h_II)
    inverse_II = _shifted_inverse(roots_I, basis_II, penalty).to(dtype)
    project = Projection(layer.within_OI, layer.quota)
    first_OI = before_OI = mask_OI = project(layer.dense_OI)
    kept, moved = max(1, int(first_OI.count_nonzero())), False
    dense_OI, sparse_OI = layer.dense_OI, layer.dense_OI * first_OI
    dual_OI = torch.zeros_like(dense_OI)
    for done in range(1, iterations + 1):
        dense_OI = torch.add(goal_OI, sparse_OI - dual_OI, alpha=penalty) @ inverse_II
        dual_OI += dense_OI
        mask_OI = project(dual_OI)
        sparse_OI = dual_OI * mask_OI
        dual_OI -= sparse_OI
        if done % EVERY:
            continue
        changes, before_OI = int((mask_OI ^ before_OI).count_nonzero()), mask_OI
        factor = next((factor for share, factor in GROWTH if changes > share * kept), 0.0)
        moved = moved or factor > 0
        if moved and (not changes or (done > PATIENCE and changes < STABLE * kept)):
            break
        if not moved and changes:
            sparse_OI, dual_OI = layer.dense_OI * first_OI, torch.zeros_like(dense_OI)
        old, penalty = penalty, penalty * (factor or SLOW_GROWTH if moved else 1 / 5)
        if penalty < PENALTIES[0]:
            break  # the support is the same under any penalty
        penalty = min(penalty, PENALTIES[1])
        dual_OI *= old / penalty
        inverse_II = _shifted_inverse(roots_I, basis_II, penalty).to(dtype)
    return mask_OI, dense_OI * mask_OI


def _shifted_inverse(roots_I: Tensor, basis_II: Tensor, penalty: float) -> Tensor:
    """(H + penalty)^-1, from the eigenvalues and eigenvectors of H."""
    return (basis_II / (roots_I + penalty)) @ basis_II.T


def refine(layer: Layer, mask_OI: Tensor, values_OI: Tensor, steps: int) -> Tensor:
    """Values with the least error on a support, by conjugate gradients from given values; algorithm 2.

    Each output has its own step lengths. The preconditioner is the diagonal of H, which is 1 in the units of
    `Layer`. Each step lowers the error, until rounding stops it.
    """
    h_II, least = layer.h_II.to(values_OI.dtype), torch.finfo(values_OI.dtype).tiny
    left_OI = (layer.products_OI - values_OI @ h_II) * mask_OI
    way_OI, square_O1 = left_OI, left_OI.square().sum(1, keepdim=True)
    for _ in range(steps):
        along_OI = way_OI @ h_II
        step_O1 = square_O1 / (way_OI * along_OI).sum(1, keepdim=True).clamp_min(least)
        values_OI = values_OI + step_O1 * way_OI
        left_OI = left_OI - step_O1 * along_OI * mask_OI
        new_O1 = left_OI.square().sum(1, keepdim=True)
        way_OI = left_OI + new_O1 / square_O1.clamp_min(least) * way_OI
        square_O1 = new_O1
    return values_OI
