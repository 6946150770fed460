"""Block Fisher information: the loss of removing a weight, and the compensation by its block.

A tensor is split, row-major, into blocks of B consecutive weights. Each block has its own damped
empirical Fisher matrix, F = damping I + mean of g g^T over K gradients; Singh & Alistarh (2020).

Shapes: G blocks processed together, B weights of one, K gradients.

The published algorithm starts from F^-1 = I / damping and updates it K times with rank one (Woodbury).
With a damping of 1e-7 that is 1e7 I, whose rounding stays when the entries have come down to their true
size. Here F itself is summed, several gradients at a time, and factorised once: the same inverse with
more correct digits, in less time. All of it is in double precision: in single precision an entry of F
above 2 may be off by more than the damping.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from smc_eval.errors import SparsityError, TrainingError

TILE_ENTRIES = 1 << 20
"""Entries of F in a tile, or one block if that has more. It bounds the scratch memory."""

PIVOT_MARGIN = 100.0
"""A pivot must be this many times its possible rounding error, so that two digits are certain."""

DOUBLE = torch.float64


@dataclass(frozen=True)
class Tile:
    """Some consecutive blocks of one tensor. The tiles of a tensor depend on its shape alone."""

    name: str
    first: int
    """Flat index of its first weight."""
    last: int
    """Flat index after its last weight."""
    block: int
    """B. The last block of a tensor may be short; it is padded with pruned weights."""

    @property
    def blocks(self) -> int:
        """G."""
        return -(-(self.last - self.first) // self.block)

    @property
    def bytes(self) -> int:
        """Memory that `fisher_blocks` needs for it: the sums, and the gradients not yet summed."""
        each = DOUBLE.itemsize * self.block + torch.float32.itemsize * gradients_at_once(self.block)
        return self.blocks * self.block * each

    def read(self, tensor: Tensor) -> Tensor:
        """Its part of a tensor, as [G, B]."""
        flat = tensor.reshape(-1)[self.first : self.last]
        return pad(flat, (0, self.blocks * self.block - len(flat))).view(-1, self.block)

    def write(self, tensor: Tensor, values_GB: Tensor) -> None:
        """Write its part of a contiguous tensor."""
        tensor.view(-1)[self.first : self.last] = values_GB.reshape(-1)[: self.last - self.first].to(
            tensor.dtype
        )


def gradients_at_once(block: int) -> int:
    """How many gradients are summed at once: they take at most an eighth of the sums' memory."""
    return max(1, block // 4)


def tiles(shapes: Mapping[str, torch.Size], block: int) -> Iterator[Tile]:
    """All blocks of all tensors, in order."""
    step = max(1, TILE_ENTRIES // block**2) * block
    for name, shape in shapes.items():
        for first in range(0, shape.numel(), step):
            yield Tile(name, first, min(first + step, shape.numel()), block)


def chunks(shapes: Mapping[str, torch.Size], block: int, memory: int) -> list[list[Tile]]:
    """All tiles in order, in chunks that take at most `memory` bytes each, or hold a single tile."""
    parts, room = list[list[Tile]](), 0
    for tile in tiles(shapes, block):
        if not parts or tile.bytes > room:
            parts.append([])
            room = memory
        parts[-1].append(tile)
        room -= tile.bytes
    return parts


def fisher_blocks(
    gradients: Iterable[Mapping[str, Tensor]],
    part: Sequence[Tile],
    masks: Mapping[str, Tensor],
    damping: float,
) -> list[Tensor]:
    """F of each tile of a chunk as [G, B, B], in double precision. Takes the tiles' `bytes`.

    A pruned weight (False in `masks`) has no gradient: its row and column hold the damping alone, so
    that it changes neither the costs nor the values of the others.

    Raises:
        TrainingError: a gradient is not a finite number.
        SparsityError: there is no gradient.
    """
    masks_GB = [tile.read(masks[tile.name]) for tile in part]
    sums_GBB = [
        torch.zeros(tile.blocks, tile.block, tile.block, dtype=DOUBLE, device=mask.device)
        for tile, mask in zip(part, masks_GB, strict=True)
    ]
    buffers_GKB = [
        torch.empty(tile.blocks, gradients_at_once(tile.block), tile.block, device=mask.device)
        for tile, mask in zip(part, masks_GB, strict=True)
    ]
    number, most = 0, gradients_at_once(part[0].block)
    for number, named in enumerate(gradients, 1):
        flat = {name: named[name].reshape(-1) for name in dict.fromkeys(tile.name for tile in part)}
        for tile, g_GKB in zip(part, buffers_GKB, strict=True):
            g_GKB[:, (number - 1) % most] = tile.read(flat[tile.name])
        if number % most == 0:
            _add(sums_GBB, buffers_GKB, masks_GB, most)
    if not number:
        raise SparsityError("the Fisher matrix needs a gradient, and there was none; ask for one or more")
    _add(sums_GBB, buffers_GKB, masks_GB, number % most)
    for tile, f_GBB in zip(part, sums_GBB, strict=True):
        diagonal_GB = f_GBB.div_(number).diagonal(dim1=1, dim2=2)
        if not bool(diagonal_GB.isfinite().all()):  # no square of a single overflows a double
            raise TrainingError(
                f"one of {number} gradients of {tile.name!r} is not finite; "
                "train with a lower lr or --recipe clip=1 before pruning"
            )
        diagonal_GB.add_(damping)
    return sums_GBB


def _add(
    sums_GBB: Sequence[Tensor], buffers_GKB: Sequence[Tensor], masks_GB: Sequence[Tensor], filled: int
) -> None:
    """Add g g^T of the buffered gradients."""
    for f_GBB, g_GKB, m_GB in zip(sums_GBB, buffers_GKB, masks_GB, strict=True):
        masked_GKB = (g_GKB[:, :filled] * m_GB[:, None]).to(DOUBLE)
        f_GBB.baddbmm_(masked_GKB.mT, masked_GKB)


@torch.no_grad()
def removal_costs(name: str, f_GBB: Tensor, w_GB: Tensor) -> Tensor:
    """w^2 / (2 [F^-1]_ii), as [G, B]: the least increase of the loss when one weight is removed.

    Kurtic et al. (2022), section 3, for one weight; the rest of its block compensates as well as it can.

    Raises:
        SparsityError: F cannot be inverted in double precision. The message gives `name`.
    """
    inverse_GBB = torch.cholesky_inverse(_root(name, f_GBB))
    return w_GB.to(DOUBLE).square() / (2 * inverse_GBB.diagonal(dim1=1, dim2=2))


@torch.no_grad()
def compensated(name: str, f_GBB: Tensor, w_GB: Tensor, stays_GB: Tensor) -> Tensor:
    """Weights after pruning, as [G, B]: zero where `stays_GB` is False, the rest of each block adjusted.

    The d that minimises d^T F d with w + d = 0 at pruned weights: -F^-1[:, Q] (F^-1[Q, Q])^-1 w_Q,
    Kurtic et al. (2022), section 3, with Q all weights pruned from the block, at once. It is computed as
    F[S, S]^-1 F[S, Q] w_Q over the remaining weights S. That is equal by the formula for the inverse of a
    block matrix, and needs no inverse. A block that loses no weight keeps its values to the bit.

    Raises:
        SparsityError: F cannot be inverted in double precision. The message gives `name`.
    """
    new_GB = torch.where(stays_GB, w_GB, 0)
    touched_G = (new_GB != w_GB).any(1) & stays_GB.any(1)
    if not bool(touched_G.any()):
        return new_GB
    f_GBB, w_GB, stays_GB = f_GBB[touched_G], w_GB[touched_G].to(DOUBLE), stays_GB[touched_G]
    pull_GB1 = f_GBB @ w_GB.masked_fill(stays_GB, 0)[:, :, None]
    pull_GB1.masked_fill_(~stays_GB[:, :, None], 0)
    # pruned weights become ones on the diagonal, so that blocks with different counts are solved together
    f_GBB.masked_fill_(~(stays_GB[:, :, None] & stays_GB[:, None, :]), 0)
    f_GBB.diagonal(dim1=1, dim2=2).masked_fill_(~stays_GB, 1)
    moves_GB = torch.cholesky_solve(pull_GB1, _root(name, f_GBB))[:, :, 0]
    new_GB[touched_G] = (w_GB + moves_GB).masked_fill(~stays_GB, 0).to(new_GB.dtype)
    return new_GB


@torch.no_grad()
def summed_updates(name: str, f_GBB: Tensor, w_GB: Tensor, stays_GB: Tensor) -> Tensor:
    """Weights after pruning, as [G, B], if each pruned weight is compensated for as if it were the only one.

    The sum over the pruned i of -w_i / [F^-1]_ii F^-1 e_i, Kurtic et al. (2022), section 3; what it adds to
    pruned weights is set to zero. A block that loses no weight keeps its values to the bit.

    Raises:
        SparsityError: F cannot be inverted in double precision. The message gives `name`.
    """
    new_GB = torch.where(stays_GB, w_GB, 0)
    touched_G = (new_GB != w_GB).any(1) & stays_GB.any(1)
    if not bool(touched_G.any()):
        return new_GB
    w_GB, stays_GB = w_GB[touched_G].to(DOUBLE), stays_GB[touched_G]
    inverse_GBB = torch.cholesky_inverse(_root(name, f_GBB[touched_G]))
    pulls_GB = w_GB.masked_fill(stays_GB, 0) / inverse_GBB.diagonal(dim1=1, dim2=2)
    moves_GB = (inverse_GBB @ pulls_GB[:, :, None])[:, :, 0]
    new_GB[touched_G] = (w_GB - moves_GB).masked_fill(~stays_GB, 0).to(new_GB.dtype)
    return new_GB


@torch.no_grad()
def inverses(name: str, f_GBB: Tensor) -> Tensor:
    """F^-1 of each block.

    Raises:
        SparsityError: F cannot be inverted in double precision. The message gives `name`.
    """
    return torch.cholesky_inverse(_root(name, f_GBB))


def _root(name: str, f_GBB: Tensor) -> Tensor:
    """The Cholesky factor of each block.

    Raises:
        SparsityError: a pivot is not clearly larger than its possible rounding error.
    """
    root_GBB: Tensor
    root_GBB, failed_G = torch.linalg.cholesky_ex(f_GBB)
    diagonal_GB, pivots_GB = (m.diagonal(dim1=1, dim2=2) for m in (f_GBB, root_GBB))
    rounding_GB = diagonal_GB * (f_GBB.shape[1] * torch.finfo(DOUBLE).eps)
    if bool(failed_G.any()) or not bool((pivots_GB.square() > PIVOT_MARGIN * rounding_GB).all()):
        raise SparsityError(
            f"a Fisher block of {name!r} cannot be inverted in double precision: the gradients span too few "
            "directions, and the damping is below rounding; raise the damping, or the number of gradients"
        )
    return root_GBB
