"""Layer-wise reconstruction: weights are pruned column by column, and later columns compensate.

Frantar & Alistarh (2023), algorithm 1. Shapes: O outputs, I inputs, B inputs of a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from smc_eval.sparse.distribution import share_out
from smc_eval.sparse.input_stats import Band
from smc_eval.sparse.pattern import grouped
from smc_eval.sparse.quota import PlainQuota
from smc_eval.sparse.select import largest


@torch.no_grad()
def reconstruct(
    weight: Tensor, within: Tensor, bands: Iterable[Band], quota: PlainQuota, *, damping: float, block: int
) -> tuple[Tensor, Tensor]:
    """Mask and new values of a tensor, seen as [O, I], that nearly keep its outputs on its inputs.

    In each block of columns the weights with the least error w^2 / [H^-1]_ii are pruned, where H is
    the Gram matrix of the inputs plus damping times its mean diagonal. Each block keeps the same share.
    Weights of an input that was always 0 become 0 and are pruned first, as published. Pruned weights
    (False in `within`) stay pruned. Rows without inputs keep their largest magnitudes, unchanged.
    """
    old_OI, within_OI = weight.flatten(1), within.flatten(1)
    new_OI, mask_OI = old_OI.clone(), torch.zeros_like(within_OI)
    bands = list(bands)
    quotas: Mapping[int, PlainQuota] = dict.fromkeys(range(len(bands)), quota)
    if isinstance(quota, int):
        sizes = {at: old_OI[rows].numel() for at, (rows, _) in enumerate(bands)}
        ceilings = {at: int(within_OI[rows].count_nonzero()) for at, (rows, _) in enumerate(bands)}
        quotas = share_out(quota, sizes, ceilings)
    for at, (rows, gram_II) in enumerate(bands):
        unpruned, own = within_OI[rows], quotas[at]
        if own == int(unpruned.count_nonzero()):  # nothing is pruned, so nothing is compensated
            mask_OI[rows] = unpruned
        elif gram_II is None or not bool(gram_II.any()):
            mask_OI[rows] = _largest_errors(old_OI[rows].abs(), own, unpruned)
        else:
            upper_II, idle_I = inverse_factor(gram_II, damping)
            left_IO = old_OI[rows].T.clone(memory_format=torch.contiguous_format)  # a column is contiguous
            left_IO[idle_I] = 0
            stays_IO = _pruned_in_blocks(left_IO, upper_II.to(left_IO.dtype), unpruned.T, own, block)
            new_OI[rows], mask_OI[rows] = left_IO.T, stays_IO.T
    return mask_OI.view(weight.shape), (new_OI * mask_OI).view(weight.shape)


def inverse_factor(gram_II: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """U with U^T U = H^-1, upper triangular and in double precision, and a mask of inputs always 0.

    A Cholesky factor of H with rows and columns reversed gives H = R R^T with R upper triangular, and
    U is the inverse of R: one decomposition and one triangular solution. The published algorithm
    decomposes, inverts and decomposes again.
    """
    diagonal_I = gram_II.diagonal().to(torch.float64, copy=True)
    idle_I = diagonal_I == 0
    mean = diagonal_I.sum() / (~idle_I).count_nonzero()
    diagonal_I[idle_I] = mean
    diagonal_I += damping * mean
    # a name for two matrices in turn: of a wide tensor each takes as much as the weights of a block
    matrix_II = gram_II.flip(0, 1).to(torch.float64)
    matrix_II.diagonal().copy_(diagonal_I.flip(0))
    matrix_II = torch.linalg.cholesky(matrix_II)
    matrix_II = matrix_II.flip(0, 1)
    unit_II = torch.eye(len(matrix_II), dtype=torch.float64, device=gram_II.device).T  # columns contiguous
    return torch.linalg.solve_triangular(matrix_II, unit_II, upper=True, out=unit_II), idle_I


def _pruned_in_blocks(
    left_IO: Tensor, upper_II: Tensor, within_IO: Tensor, quota: PlainQuota, block: int
) -> Tensor:
    """Mask of the weights that stay; `left_IO` is overwritten with their new values.

    The weights to prune are chosen at the beginning of their block, or of their N:M group. By then they
    contain the compensation of all columns before.
    """
    mask_IO, pieces = within_IO.clone(), list(_blocks(len(left_IO), quota, block))
    if isinstance(quota, int):
        sizes = {piece.start: left_IO[piece].numel() for piece in pieces}
        ceilings = {piece.start: int(within_IO[piece].count_nonzero()) for piece in pieces}
        keep = share_out(quota, sizes, ceilings)
    for piece in pieces:
        left_BO, stays_BO, upper_BB = left_IO[piece], mask_IO[piece], upper_II[piece, piece]
        unit_B1, lost_BO = upper_BB.diagonal()[:, None], torch.empty_like(left_BO)
        if isinstance(quota, int):
            errors_BO = (left_BO / unit_B1).abs()
            stays_BO.copy_(_largest_errors(errors_BO, keep[piece.start], within_IO[piece]))
        for at in range(len(left_BO)):
            if not isinstance(quota, int) and at % quota[1] == 0:
                group = slice(at, at + quota[1])
                errors_OM = (left_BO[group] / unit_B1[group]).abs().T
                stays_BO[group] = _largest_errors(errors_OM, quota, within_IO[piece][group].T).T
            torch.mul(left_BO[at], ~stays_BO[at], out=lost_BO[at]).div_(unit_B1[at])
            left_BO[at:].addr_(upper_BB[at, at:], lost_BO[at], alpha=-1)
        left_IO[piece.stop :].addmm_(upper_II[piece, piece.stop :].T, lost_BO, alpha=-1)
    return mask_IO


def _blocks(inputs: int, quota: PlainQuota, block: int) -> Iterator[slice]:
    """Columns in pieces of about a block; no N:M group is split."""
    width = block if isinstance(quota, int) else max(1, block // quota[1]) * quota[1]
    for start in range(0, inputs, width):
        yield slice(start, min(start + width, inputs))


def _largest_errors(errors: Tensor, quota: PlainQuota, within: Tensor) -> Tensor:
    """Mask of the largest errors, of all together or of each group."""
    if isinstance(quota, int):
        return largest({"": errors}, quota, {"": within})[""]
    return grouped(errors, *quota, within)
