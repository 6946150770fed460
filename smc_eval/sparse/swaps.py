"""Swaps: a row keeps a pruned weight instead of one that it has, for as long as its outputs come nearer.

Zimmer et al. (2025), arXiv:2512.10922. The error of a row is r^T G r, where r are its pruned weights, 0
elsewhere, and G is the Gram matrix of its inputs. With c = G r, pruning a kept weight p and keeping a pruned
weight u instead changes the error by

    (2 w_p c_p + w_p^2 G_pp) + (-2 w_u c_u + w_u^2 G_uu) - 2 w_p w_u G_pu.

Each step makes the best swap of all, until none reduces the error.

Shapes: R rows processed together, I inputs, P of them that may be pruned, U that may be kept instead,
J either, K groups of M.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

PAIRS_AT_ONCE = 1 << 20
"""Swaps that are compared together, or those of one row if they are more. It bounds the scratch memory."""

ROUNDING = 1e-12
"""Share of a sum that its rounding error never reaches."""

LEAST_GAIN = 1e-12
"""Share of a row's first error that a swap must gain. Less may be rounding, and two swaps undo each other."""


FILLERS = (0.0, torch.inf, torch.inf)
"""Weight and terms that fill up a short last group: they are in no swap."""


class Swaps(NamedTuple):
    """The best swap of each row."""

    change_R: Tensor
    """Change of the error; infinity if the row has no swap."""
    prune_R1: Tensor
    """Index of the weight to prune."""
    keep_R1: Tensor
    """Index of the weight to keep instead."""


class OpenRows(NamedTuple):
    """Rows of a weight in double precision, with what a swap changes."""

    w_RI: Tensor
    mask_RI: Tensor
    """True stays."""
    open_RI: Tensor
    """Pruned weights that may be kept instead."""
    c_RI: Tensor
    """G times the pruned weights."""

    def terms(self, gram_II: Tensor) -> tuple[Tensor, Tensor]:
        """What pruning each kept weight adds to the error, and keeping each pruned one; else infinity."""
        single_RI = self.w_RI.square() * gram_II.diagonal()
        double_RI = 2 * self.w_RI * self.c_RI
        return (
            (single_RI + double_RI).masked_fill(~self.mask_RI, torch.inf),
            (single_RI - double_RI).masked_fill(~self.open_RI, torch.inf),
        )

    def at(self, index_R: Tensor) -> OpenRows:
        """Some of the rows."""
        return OpenRows(*(tensor[index_R] for tensor in self))


@torch.no_grad()
def swapped(
    weight_OI: Tensor, mask_OI: Tensor, within_OI: Tensor, gram_II: Tensor, *, group: int | None, most: int
) -> Tensor:
    """The mask after at most `most` swaps in each row, each the best of all. Every row keeps its count.

    With a `group`, both weights of a swap are of the same group of consecutive inputs. Weights that are
    False in `within_OI` stay pruned. Of equal swaps, the one that prunes the lowest index is made, and of
    these the one that keeps the lowest. In double precision: the error of a row never rises.
    """
    gram_II, new_OI, inputs = gram_II.to(torch.float64), mask_OI.clone(), weight_OI.shape[1]
    gram_II = (gram_II + gram_II.T).div_(2)  # a product of floats may not be symmetric, and bounds rely on it
    best = InRows(gram_II) if group is None else InGroups(gram_II, group)
    step = max(1, PAIRS_AT_ONCE // max(1, inputs * (group or 1)))
    for start in range(0, len(weight_OI), step):
        at = slice(start, start + step)
        w_RI, mask_RI = weight_OI[at].to(torch.float64), new_OI[at]
        c_RI = w_RI.masked_fill(mask_RI, 0) @ gram_II
        new_OI[at] = _descend(OpenRows(w_RI, mask_RI, within_OI[at] & ~mask_RI, c_RI), gram_II, best, most)
    return new_OI


def _descend(rows: OpenRows, gram_II: Tensor, best: Callable[[OpenRows], Swaps], most: int) -> Tensor:
    """The mask of the rows after their swaps."""
    ends_RI = rows.mask_RI.clone()
    least_R = LEAST_GAIN * (rows.w_RI.masked_fill(rows.mask_RI, 0) * rows.c_RI).sum(1)
    place_R = torch.arange(len(ends_RI), device=ends_RI.device)
    for _ in range(most):
        change_R, prune_R1, keep_R1 = best(rows)
        gains_R = change_R < -least_R
        if not bool(gains_R.any()):
            break
        if not bool(gains_R.all()):
            index_R = gains_R.nonzero()[:, 0]
            rows, place_R, least_R = rows.at(index_R), place_R[index_R], least_R[index_R]
            prune_R1, keep_R1 = prune_R1[index_R], keep_R1[index_R]
        w_RI, mask_RI, open_RI, c_RI = rows
        c_RI += w_RI.gather(1, prune_R1) * gram_II[prune_R1[:, 0]]
        c_RI -= w_RI.gather(1, keep_R1) * gram_II[keep_R1[:, 0]]
        mask_RI.scatter_(1, prune_R1, False).scatter_(1, keep_R1, True)
        open_RI.scatter_(1, prune_R1, True).scatter_(1, keep_R1, False)
        ends_RI[place_R] = mask_RI
    return ends_RI


class InRows:
    """The best swap of each row, over all pairs of a kept and a pruned weight.

    Pairs that cannot be the best are left out. A swap is at best the sum of its two terms less
    2 |w_p| |w_u| max |G_p|, and a row's best is at most that of two simple tries: the least term of one
    kind, with every partner.
    """

    def __init__(self, gram_II: Tensor) -> None:
        self.gram_II, self.far_I = gram_II, gram_II.abs().fill_diagonal_(0).amax(1)

    def __call__(self, rows: OpenRows) -> Swaps:
        """The best swaps."""
        prune_RI, keep_RI = rows.terms(self.gram_II)
        bound_R1 = _tried(rows.w_RI, prune_RI, keep_RI, self.gram_II)
        sizes_RI = rows.w_RI.abs()
        hopeful = []
        for own_RI, other_RI in ((prune_RI, keep_RI), (keep_RI, prune_RI)):
            largest_R1 = sizes_RI.masked_fill(other_RI.isinf(), 0).amax(1, keepdim=True)
            least_R1, reach_RI = other_RI.amin(1, keepdim=True), 2 * sizes_RI * self.far_I * largest_R1
            rounding_RI = ROUNDING * (own_RI.abs() + least_R1.abs() + reach_RI)
            hopeful.append((own_RI + least_R1 - reach_RI - rounding_RI <= bound_R1) & own_RI.isfinite())
        prune_RI.masked_fill_(~hopeful[0], torch.inf)
        keep_RI.masked_fill_(~hopeful[1], torch.inf)
        return _compared(rows.w_RI, prune_RI, keep_RI, self.gram_II)


def _tried(w_RI: Tensor, prune_RI: Tensor, keep_RI: Tensor, gram_II: Tensor) -> Tensor:
    """The best swap among those with the least term of one kind, as [R, 1]: a bound for all."""
    tries = []
    for own_RI, other_RI in ((prune_RI, keep_RI), (keep_RI, prune_RI)):
        least_R1, at_R1 = own_RI.min(1, keepdim=True)
        both_RI = least_R1 + other_RI - 2 * w_RI.gather(1, at_R1) * w_RI * gram_II[at_R1[:, 0]]
        tries.append(both_RI.amin(1, keepdim=True))
    return torch.minimum(*tries)


def _compared(w_RI: Tensor, prune_RI: Tensor, keep_RI: Tensor, gram_II: Tensor) -> Swaps:
    """The best of all pairs with finite terms. OpenRows with equally many of them are compared together."""
    counts_2R = torch.stack([terms_RI.isfinite().count_nonzero(1) for terms_RI in (prune_RI, keep_RI)])
    order_R = (counts_2R[0] * counts_2R[1]).argsort(stable=True)
    change_R = torch.full_like(w_RI[:, 0], torch.inf)
    at_R1 = torch.zeros(2, len(w_RI), 1, dtype=torch.long, device=w_RI.device)
    sizes = counts_2R[:, order_R].cpu().tolist()
    start = 0
    while start < len(order_R):
        stop, widths = start, [0, 0]
        while stop < len(order_R):
            wider = [max(width, size[stop]) for width, size in zip(widths, sizes, strict=True)]
            if stop > start and wider[0] * wider[1] * (stop + 1 - start) > PAIRS_AT_ONCE:
                break
            stop, widths = stop + 1, wider
        part_R, start = order_R[start:stop], stop
        if 0 in widths:
            continue
        (a_RP, p_RP), (b_RU, u_RU) = (
            _first(terms_RI[part_R], width)
            for terms_RI, width in zip((prune_RI, keep_RI), widths, strict=True)
        )
        w_RJ = w_RI[part_R]
        pairs_RPU = gram_II[p_RP[:, :, None], u_RU[:, None, :]]
        pairs_RPU *= (-2 * w_RJ.gather(1, p_RP))[:, :, None] * w_RJ.gather(1, u_RU)[:, None, :]
        pairs_RPU += a_RP[:, :, None]
        pairs_RPU += b_RU[:, None, :]
        change_R[part_R], best_R = pairs_RPU.flatten(1).min(1)  # the first of equal ones
        at_R1[0, part_R] = p_RP.gather(1, best_R[:, None] // widths[1])
        at_R1[1, part_R] = u_RU.gather(1, best_R[:, None] % widths[1])
    return Swaps(change_R, at_R1[0], at_R1[1])


def _first(terms_RI: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The finite terms of each row in the order of their index, and these; rows are filled with infinity."""
    at_RJ = terms_RI.isfinite().to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
    return terms_RI.gather(1, at_RJ), at_RJ


class InGroups:
    """The best swap of each row within a group of `group` consecutive inputs."""

    def __init__(self, gram_II: Tensor, group: int) -> None:
        self.gram_II, self.group, self.fill = gram_II, group, -len(gram_II) % group
        whole_II = pad(gram_II, (0, self.fill, 0, self.fill))
        size = len(whole_II) // group
        self.gram_KMM = (
            whole_II.view(size, group, size, group).diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()
        )

    def __call__(self, rows: OpenRows) -> Swaps:
        """The best swaps."""
        group = self.group
        w_RKM, a_RKM, b_RKM = (
            pad(values, (0, self.fill), value=filler).view(len(values), -1, group)
            for values, filler in zip((rows.w_RI, *rows.terms(self.gram_II)), FILLERS, strict=True)
        )
        pairs_RKMM = (-2 * w_RKM)[:, :, :, None] * self.gram_KMM
        pairs_RKMM *= w_RKM[:, :, None, :]
        pairs_RKMM += a_RKM[:, :, :, None]
        pairs_RKMM += b_RKM[:, :, None, :]
        change_R, best_R = pairs_RKMM.flatten(1).min(1)  # the first of equal ones
        first_R1 = (best_R // group**2 * group)[:, None]
        return Swaps(
            change_R, first_R1 + (best_R // group % group)[:, None], first_R1 + (best_R % group)[:, None]
        )
