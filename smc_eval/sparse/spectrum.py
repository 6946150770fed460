"""Spectra of weights: how heavy their tails are, and the sparsities that follow from it.

Lu et al. (2024), arXiv:2410.10912. Shapes: O outputs, I inputs, N eigenvalues.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

RANGE = 0.3
"""Tau: before they are scaled to the target, sparsities lie between 1 - tau and 1 + tau."""

BINS = 100
"""Bins of the histogram whose fullest is the peak of a spectrum."""

BEYOND_PEAK = 1.5
"""The tail begins at this multiple of the peak at most."""

LEAST_DENSITY = 0.2
"""Tau is smaller where a block would keep a smaller share of the target's density than this."""

TAILS_AT_ONCE = 1 << 22
"""Numbers that `_distances` computes at a time. It bounds the extra memory."""


def tail_densities(
    weights: Mapping[str, Tensor], blocks: Iterable[Iterable[str]], sparsity: float
) -> dict[str, float]:
    """The density of each tensor, by the exponents of the spectra of its block; AlphaPruning.

    A weight outside of all blocks is a block of its own. The exponent of a block is the mean over its
    tensors. The sparsity is linear in it: heavy tails, of a small exponent, are pruned less. All together
    have the target's sparsity. A block without an exponent has it too. Where tau = 0.3 would leave a block
    less than a fifth of the target's density, as it does above a sparsity of about 0.7, tau is smaller: there
    some sparsities of the authors' code are above 1. Below, these are equal to 2e-7 (haiquanlu/AlphaPruning
    5f0e984, ww_sparsity, on the blocks of a MiniLM).
    """
    sizes, exponents = dict[tuple[str, ...], int](), dict[tuple[str, ...], float]()
    for names in map(tuple, blocks):
        sizes[names] = sum(weights[name].numel() for name in names)
        found = [value for name in names if (value := tail_exponent(weights[name])) is not None]
        if found:
            exponents[names] = math.fsum(found) / len(found)
    shares = _pruned_shares({names: (exponents[names], sizes[names]) for names in exponents}, sparsity)
    return {name: 1 - shares.get(names, sparsity) for names in sizes for name in names}


def _pruned_shares(
    blocks: Mapping[tuple[str, ...], tuple[float, int]], sparsity: float
) -> dict[tuple[str, ...], float]:
    """The sparsity of each block, from its exponent and size; the mean over all weights is the target's."""
    low = min((exponent for exponent, _ in blocks.values()), default=0.0)
    high = max((exponent for exponent, _ in blocks.values()), default=0.0)
    total = sum(size for _, size in blocks.values())
    if not (total and low < high):
        return dict.fromkeys(blocks, sparsity)
    place = {names: (exponent - low) / (high - low) for names, (exponent, _) in blocks.items()}
    mean = math.fsum(place[names] * size for names, (_, size) in blocks.items()) / total
    tau = RANGE
    if sparsity:  # the most pruned block has (1 + tau) / (1 - tau + 2 tau mean) times the target's sparsity
        most = (1 - LEAST_DENSITY * (1 - sparsity)) / sparsity
        slope = 1 + most * (1 - 2 * mean)
        tau = min(tau, (most - 1) / slope) if slope > 0 else tau
    scale = sparsity / (1 - tau + 2 * tau * mean)
    return {names: scale * (1 - tau + 2 * tau * place[names]) for names in blocks}


@torch.no_grad()
def tail_exponent(weight: Tensor) -> float | None:
    """PL_Alpha_Hill: the exponent of a power law of the tail of a weight's spectrum; None if it has none.

    The eigenvalues are the squares of the singular values. The exponent of the tail from l_i on is
    1 + n / sum of ln(l_j / l_i), over its n eigenvalues, the first included. Of the tails that begin at
    most at 1.5 times the peak of the spectrum, the one nearest to its power law counts, by the largest
    difference of the distributions. The peak is the fullest of 100 bins of log l. Eigenvalues that are zero
    up to rounding do not count. A kernel counts as one matrix [O, I] for each of its places, whose
    eigenvalues are joined. There is no exponent of fewer than two eigenvalues, or of equal ones.

    This is `alpha_peak` of the authors' code (net_esd_estimator), whose exponents of 36 matrices of a MiniLM
    and of 36 random ones are equal to 2e-5. That code also asks a tail to begin above log10 of 0.95 times
    the peak, a limit in another unit that did not bind there; here it is left out.
    """
    matrices = weight.detach().double()
    if weight.ndim > 2:
        matrices = matrices.flatten(2).movedim(-1, 0)
    if not matrices.numel() or not bool(matrices.isfinite().all()):
        return None
    values_N = torch.linalg.svdvals(matrices).flatten().sort().values
    rounding = torch.finfo(matrices.dtype).eps * max(matrices.shape[-2:])
    logs_N = 2 * values_N[values_N > rounding * values_N[-1]].log()
    if len(logs_N) < 2 or float(logs_N[-1]) == float(logs_N[0]):
        return None
    starts = int((logs_N <= _peak(logs_N) + math.log(BEYOND_PEAK)).count_nonzero())
    starts = min(max(1, starts), len(logs_N) - 1)
    sizes_S = torch.arange(len(logs_N), 0, -1, device=logs_N.device)[:starts]
    above_S = logs_N.flip(0).cumsum(0).flip(0)[:starts] - sizes_S * logs_N[:starts]
    exponents_S = 1 + sizes_S / above_S
    best = int(_distances(logs_N, exponents_S).argmin())
    exponent = float(exponents_S[best])
    return exponent if math.isfinite(exponent) else None


def _peak(logs_N: Tensor) -> float:
    """The lower edge of the fullest bin; the first of equally full ones."""
    low, high = float(logs_N[0]), float(logs_N[-1])
    full = int(torch.histc(logs_N.cpu(), BINS, low, high).argmax())
    return low + (high - low) * full / BINS


def _distances(logs_N: Tensor, exponents_S: Tensor) -> Tensor:
    """The Kolmogorov-Smirnov distance of the tail from each start on to its power law; S starts.

    It is taken at each eigenvalue from below: the share of the tail that is smaller.
    """
    starts, total = len(exponents_S), len(logs_N)
    places_N = torch.arange(total, device=logs_N.device)
    pieces = []
    for first_S in torch.split(torch.arange(starts, device=logs_N.device), max(1, TAILS_AT_ONCE // total)):
        start_S1 = first_S[:, None]
        law_SN = 1 - ((logs_N - logs_N[start_S1]) * (1 - exponents_S[start_S1])).exp()
        share_SN = (places_N - start_S1) / (total - start_S1)
        apart_SN = (law_SN - share_SN).abs().masked_fill(places_N < start_S1, 0)
        pieces.append(apart_SN.amax(1).nan_to_num(math.inf))
    return torch.cat(pieces)
