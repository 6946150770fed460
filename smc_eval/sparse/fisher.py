"""Block Fisher information: what a weight's loss costs, and how its block makes up for it.

A tensor is cut, row-major, into blocks of B consecutive weights, and each block has its own damped
empirical Fisher matrix, F = damping I + mean of g g^T over K gradients; Singh & Alistarh (2020).

Shapes: G blocks looked at together, B weights of one, K gradients.

The published way keeps F^-1 and carries it along by K rank-one updates (Woodbury), from I / damping:
with a damping of 1e-7 that is 1e7 I, whose rounding stays when the entries have come down to what they
should be. Here F itself is summed, several gradients at a time, and factorised once: the same inverse
with more of its digits, in less time. All of it is in double precision: in single, an entry of F above 2
may be off by more than the damping.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from smc_eval.errors import SparsityError, TrainingError

VALUES = 1 << 20
"""Entries of F in a tile, or one block if that has more: it bounds the scratch memory."""

SURE = 100.0
"""A pivot must be so many times what rounding may have made of it, so that two digits are sure."""

DOUBLE = torch.float64


@dataclass(frozen=True)
class Tile:
    """Some neighbouring blocks of one tensor. How a tensor is tiled depends on its shape alone."""

    name: str
    first: int
    """Flat index of its first weight."""
    last: int
    """One past its last."""
    block: int
    """B; the last block of a tensor may be short, and is filled up with dead weights."""

    @property
    def blocks(self) -> int:
        """G."""
        return -(-(self.last - self.first) // self.block)

    @property
    def bytes(self) -> int:
        """What `fishers` holds of it: the sums, and the gradients that wait for being summed."""
        each = DOUBLE.itemsize * self.block + torch.float32.itemsize * waiting(self.block)
        return self.blocks * self.block * each

    def cut(self, tensor: Tensor) -> Tensor:
        """Its part of a tensor, as [G, B]."""
        flat = tensor.reshape(-1)[self.first : self.last]
        return pad(flat, (0, self.blocks * self.block - len(flat))).view(-1, self.block)

    def put(self, tensor: Tensor, values_GB: Tensor) -> None:
        """Write its part of a contiguous tensor."""
        tensor.view(-1)[self.first : self.last] = values_GB.reshape(-1)[: self.last - self.first].to(
            tensor.dtype
        )


def waiting(block: int) -> int:
    """How many gradients wait to be summed at once: they take an eighth of the sums' memory at most."""
    return max(1, block // 4)


def tiles(shapes: Mapping[str, torch.Size], block: int) -> Iterator[Tile]:
    """All blocks of all tensors, in order."""
    step = max(1, VALUES // block**2) * block
    for name, shape in shapes.items():
        for first in range(0, shape.numel(), step):
            yield Tile(name, first, min(first + step, shape.numel()), block)


def chunks(shapes: Mapping[str, torch.Size], block: int, memory: int) -> list[list[Tile]]:
    """All tiles in order, parted so that each part takes at most so many bytes, or is a single tile."""
    parts, room = list[list[Tile]](), 0
    for tile in tiles(shapes, block):
        if not parts or tile.bytes > room:
            parts.append([])
            room = memory
        parts[-1].append(tile)
        room -= tile.bytes
    return parts


def fishers(
    gradients: Iterable[Mapping[str, Tensor]],
    part: Sequence[Tile],
    alive: Mapping[str, Tensor],
    damping: float,
) -> list[Tensor]:
    """F of each tile of a part as [G, B, B], double precision. Takes the tiles' `bytes`.

    A dead weight (False in `alive`) has no gradient: its row and column are damping alone, so that
    it has no say in what the others are worth or become.

    Raises:
        TrainingError: a gradient is not a finite number.
        SparsityError: there is no gradient.
    """
    alive_GB = [tile.cut(alive[tile.name]) for tile in part]
    sums_GBB = [
        torch.zeros(tile.blocks, tile.block, tile.block, dtype=DOUBLE, device=a.device)
        for tile, a in zip(part, alive_GB, strict=True)
    ]
    wait_GKB = [
        torch.empty(tile.blocks, waiting(tile.block), tile.block, device=a.device)
        for tile, a in zip(part, alive_GB, strict=True)
    ]
    number, most = 0, waiting(part[0].block)
    for number, named in enumerate(gradients, 1):
        flat = {name: named[name].reshape(-1) for name in dict.fromkeys(tile.name for tile in part)}
        for tile, g_GKB in zip(part, wait_GKB, strict=True):
            g_GKB[:, (number - 1) % most] = tile.cut(flat[tile.name])
        if number % most == 0:
            _add(sums_GBB, wait_GKB, alive_GB, most)
    if not number:
        raise SparsityError("the Fisher matrix needs a gradient, and there was none; ask for one or more")
    _add(sums_GBB, wait_GKB, alive_GB, number % most)
    for tile, f_GBB in zip(part, sums_GBB, strict=True):
        diagonal_GB = f_GBB.div_(number).diagonal(dim1=1, dim2=2)
        if not bool(diagonal_GB.isfinite().all()):  # no square of a single overflows a double
            raise TrainingError(
                f"among {number} gradients of {tile.name!r} is one that is not finite; "
                "train with a lower lr or --recipe clip=1 before pruning"
            )
        diagonal_GB.add_(damping)
    return sums_GBB


def _add(
    sums_GBB: Sequence[Tensor], wait_GKB: Sequence[Tensor], alive_GB: Sequence[Tensor], filled: int
) -> None:
    """Add g g^T of the gradients that wait."""
    for f_GBB, g_GKB, a_GB in zip(sums_GBB, wait_GKB, alive_GB, strict=True):
        living_GKB = (g_GKB[:, :filled] * a_GB[:, None]).to(DOUBLE)
        f_GBB.baddbmm_(living_GKB.mT, living_GKB)


@torch.no_grad()
def removal_costs(name: str, f_GBB: Tensor, w_GB: Tensor) -> Tensor:
    """w^2 / (2 [F^-1]_ii): the least by which the loss grows when a weight goes, as [G, B].

    Kurtic et al. (2022), section 3, for one weight; its block makes up for it as well as it can.

    Raises:
        SparsityError: F cannot be inverted in double precision; `name` is told.
    """
    inverse_GBB = torch.cholesky_inverse(_root(name, f_GBB))
    return w_GB.to(DOUBLE).square() / (2 * inverse_GBB.diagonal(dim1=1, dim2=2))


@torch.no_grad()
def made_up(name: str, f_GBB: Tensor, w_GB: Tensor, stays_GB: Tensor) -> Tensor:
    """Weights after all that does not stay has gone and the rest of each block made up for it, as [G, B].

    The d that minimises d^T F d with w + d = 0 where nothing stays: -F^-1[:, Q] (F^-1[Q, Q])^-1 w_Q,
    Kurtic et al. (2022), section 3, with Q all that goes from the block, at once. It is computed as
    F[S, S]^-1 F[S, Q] w_Q over the survivors S, which is the same by the rule for the inverse of a matrix
    in four parts, and needs no inverse. Blocks from which nothing goes keep their weights to the bit.

    Raises:
        SparsityError: F cannot be inverted in double precision; `name` is told.
    """
    kept_GB = torch.where(stays_GB, w_GB, 0)
    touched_G = (kept_GB != w_GB).any(1) & stays_GB.any(1)
    if not bool(touched_G.any()):
        return kept_GB
    f_GBB, w_GB, stays_GB = f_GBB[touched_G], w_GB[touched_G].to(DOUBLE), stays_GB[touched_G]
    pull_GB1 = f_GBB @ w_GB.masked_fill(stays_GB, 0)[:, :, None]
    pull_GB1.masked_fill_(~stays_GB[:, :, None], 0)
    # what goes stands apart as ones on the diagonal, so that blocks with any number of survivors go together
    f_GBB.masked_fill_(~(stays_GB[:, :, None] & stays_GB[:, None, :]), 0)
    f_GBB.diagonal(dim1=1, dim2=2).masked_fill_(~stays_GB, 1)
    moves_GB = torch.cholesky_solve(pull_GB1, _root(name, f_GBB))[:, :, 0]
    kept_GB[touched_G] = (w_GB + moves_GB).masked_fill(~stays_GB, 0).to(kept_GB.dtype)
    return kept_GB


def _root(name: str, f_GBB: Tensor) -> Tensor:
    """The Cholesky factor of each block.

    Raises:
        SparsityError: a pivot is no more than what rounding may have made of it.
    """
    root_GBB: Tensor
    root_GBB, failed_G = torch.linalg.cholesky_ex(f_GBB)
    diagonal_GB, pivots_GB = (m.diagonal(dim1=1, dim2=2) for m in (f_GBB, root_GBB))
    rounding_GB = diagonal_GB * (f_GBB.shape[1] * torch.finfo(DOUBLE).eps)
    if bool(failed_G.any()) or not bool((pivots_GB.square() > SURE * rounding_GB).all()):
        raise SparsityError(
            f"a Fisher block of {name!r} cannot be inverted in double precision: its gradients span too "
            "little, and the damping is lost beside them; raise the damping, or the number of gradients"
        )
    return root_GBB
