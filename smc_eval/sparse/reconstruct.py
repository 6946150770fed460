"""Layer-wise reconstruction: what is dropped column by column is made up for by the columns to come.

Frantar & Alistarh (2023), algorithm 1. Shapes: O outputs, I inputs, B inputs of a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from smc_eval.sparse.distribution import share_out
from smc_eval.sparse.input_stats import Band
from smc_eval.sparse.pattern import grouped
from smc_eval.sparse.select import largest

Quota = int | tuple[int, int]
"""How many weights stay of a tensor, or N of every M along a row."""


@torch.no_grad()
def reconstruct(
    weight: Tensor, within: Tensor, bands: Iterable[Band], quota: Quota, *, damping: float, block: int
) -> tuple[Tensor, Tensor]:
    """Mask and new values of a tensor, seen as [O, I], so that it does on its inputs nearly what it did.

    In each block of columns those weights go whose removal harms least, w^2 / [H^-1]_ii, where H is
    the Gram matrix of the inputs plus damping times its mean diagonal; each block keeps the same
    share. Weights of an input that was always 0 become 0 and go first, as published. What is dead
    in `within` stays dead. Rows that multiplied nothing keep their largest magnitudes, unmended.
    """
    old_OI, alive_OI = weight.flatten(1), within.flatten(1)
    new_OI, mask_OI = old_OI.clone(), torch.zeros_like(alive_OI)
    bands = list(bands)
    quotas: Mapping[int, Quota] = dict.fromkeys(range(len(bands)), quota)
    if isinstance(quota, int):
        sizes = {at: old_OI[rows].numel() for at, (rows, _) in enumerate(bands)}
        ceilings = {at: int(alive_OI[rows].count_nonzero()) for at, (rows, _) in enumerate(bands)}
        quotas = share_out(quota, sizes, ceilings)
    for at, (rows, gram_II) in enumerate(bands):
        alive, own = alive_OI[rows], quotas[at]
        if own == int(alive.count_nonzero()):  # nothing goes, so nothing is to be made up for
            mask_OI[rows] = alive
        elif gram_II is None or not bool(gram_II.any()):
            mask_OI[rows] = _chosen(old_OI[rows].abs(), own, alive)
        else:
            upper_II, idle_I = factor(gram_II, damping)
            left_IO = old_OI[rows].T.clone(memory_format=torch.contiguous_format)  # a column in a piece
            left_IO[idle_I] = 0
            stays_IO = _swept(left_IO, upper_II.to(left_IO.dtype), alive.T, own, block)
            new_OI[rows], mask_OI[rows] = left_IO.T, stays_IO.T
    return mask_OI.view(weight.shape), (new_OI * mask_OI).view(weight.shape)


def factor(gram_II: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """U with U^T U = H^-1, upper triangular and in double precision, and which inputs were always 0.

    Turned end for end H = R R^T with R upper triangular, and U is R's inverse: a decomposition and
    a triangular solution, where the published way decomposes, inverts and decomposes again.
    """
    h_II = gram_II.to(torch.float64, copy=True)
    diagonal_I = h_II.diagonal()
    idle_I = diagonal_I == 0
    mean = diagonal_I.sum() / (~idle_I).count_nonzero()
    diagonal_I[idle_I] = mean
    diagonal_I += damping * mean
    lower_II = torch.linalg.cholesky(h_II.flip(0, 1))
    unit_II = torch.eye(len(h_II), dtype=h_II.dtype, device=h_II.device)
    return torch.linalg.solve_triangular(lower_II.flip(0, 1), unit_II, upper=True), idle_I


def _swept(left_IO: Tensor, upper_II: Tensor, alive_IO: Tensor, quota: Quota, block: int) -> Tensor:
    """Mask of what stays; `left_IO` is left with the survivors' new values.

    Which weights of a block go is settled at its beginning, of an N:M group at the group's: by then
    they have been given all that columns before them lost.
    """
    mask_IO, pieces = alive_IO.clone(), list(_blocks(len(left_IO), quota, block))
    if isinstance(quota, int):
        sizes = {piece.start: left_IO[piece].numel() for piece in pieces}
        ceilings = {piece.start: int(alive_IO[piece].count_nonzero()) for piece in pieces}
        keep = share_out(quota, sizes, ceilings)
    for piece in pieces:
        left_BO, stays_BO, upper_BB = left_IO[piece], mask_IO[piece], upper_II[piece, piece]
        unit_B1, lost_BO = upper_BB.diagonal()[:, None], torch.empty_like(left_BO)
        if isinstance(quota, int):
            stays_BO.copy_(_chosen((left_BO / unit_B1).abs(), keep[piece.start], alive_IO[piece]))
        for at in range(len(left_BO)):
            if not isinstance(quota, int) and at % quota[1] == 0:
                group = slice(at, at + quota[1])
                harm_OM = (left_BO[group] / unit_B1[group]).abs().T
                stays_BO[group] = _chosen(harm_OM, quota, alive_IO[piece][group].T).T
            torch.mul(left_BO[at], ~stays_BO[at], out=lost_BO[at]).div_(unit_B1[at])
            left_BO[at:].addr_(upper_BB[at, at:], lost_BO[at], alpha=-1)
        left_IO[piece.stop :].addmm_(upper_II[piece, piece.stop :].T, lost_BO, alpha=-1)
    return mask_IO


def _blocks(inputs: int, quota: Quota, block: int) -> Iterator[slice]:
    """Columns of about a block each; no N:M group is cut."""
    width = block if isinstance(quota, int) else max(1, block // quota[1]) * quota[1]
    for start in range(0, inputs, width):
        yield slice(start, min(start + width, inputs))


def _chosen(harm: Tensor, quota: Quota, alive: Tensor) -> Tensor:
    """Mask of what would do most harm if it went, of all together or of each group."""
    if isinstance(quota, int):
        return largest({"": harm}, quota, {"": alive})[""]
    return grouped(harm, *quota, alive)
