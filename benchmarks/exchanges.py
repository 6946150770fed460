"""Time of SparseSwaps, DSnoT and CAP against the linear algebra that they need.

    python benchmarks/exchanges.py --repeats 3

The maps are those of an encoder of random weights, 384 wide by default; inputs are correlated. Method and
necessary work alternate in one process, and the median of the ratios of neighbouring runs is printed. Input
statistics and gradients are given. The necessary work is:

    sparseswaps   the correlations c = G r of all rows, and for every step that is made, of every row that
                  still gains: all pairs of a kept and a pruned weight, and the new c
    dsnot         the shares w E[x], the criteria of growth and of loss, and one stable sort of each
    cap           Cholesky factor and inverse of each block, and a removal of rank one for every weight

Shapes: O outputs, I inputs, G blocks, B weights of one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch
from torch import Tensor

from smc_eval.sparse.elimination import elimination_costs
from smc_eval.sparse.fisher import TILE_ENTRIES
from smc_eval.sparse.moments import Moments
from smc_eval.sparse.pattern import grouped, rowwise
from smc_eval.sparse.swaps import swapped
from smc_eval.sparse.turnover import Turnover

ROWS_AT_ONCE = 8
"""Rows whose pairs the necessary work compares together."""


class Map:
    """A map with its inputs' statistics, and a first mask by Wanda."""

    def __init__(self, outputs: int, inputs: int, density: float, group: int | None, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        x_NI = torch.randn(2048, inputs // 6, generator=generator) @ torch.randn(
            inputs // 6, inputs, generator=generator
        )
        x_NI = (x_NI / (inputs // 6) ** 0.5 + 0.3 * torch.randn(2048, inputs, generator=generator) + 0.2).to(
            device
        )
        self.group = group
        self.weight_OI = (torch.randn(outputs, inputs, generator=generator) / inputs**0.5).to(device)
        self.gram_II = x_NI.T @ x_NI
        wide_NI = x_NI.double()
        self.moments = Moments(wide_NI.mean(0), wide_NI.var(0, correction=0), wide_NI.square().mean(0))
        score_OI = self.weight_OI.abs() * self.gram_II.diagonal().sqrt()
        self.mask_OI = (
            rowwise(score_OI, round(density * score_OI.numel()))
            if group is None
            else grouped(score_OI, round(group * density), group)
        )
        self.within_OI = torch.ones_like(self.mask_OI)

    def swapped(self, most: int, mask_OI: Tensor | None = None) -> Tensor:
        """The mask after its swaps."""
        first_OI = self.mask_OI if mask_OI is None else mask_OI
        return swapped(self.weight_OI, first_OI, self.within_OI, self.gram_II, group=self.group, most=most)

    def steps(self, most: int) -> list[tuple[Tensor, Tensor]]:
        """Rows that swap in each step, and their masks before it."""
        found, mask_OI = [], self.mask_OI
        for _ in range(most):
            new_OI = self.swapped(1, mask_OI)
            rows_R = (new_OI != mask_OI).any(1).nonzero()[:, 0]
            found.append((rows_R, mask_OI[rows_R]))
            if not len(rows_R):
                break
            mask_OI = new_OI
        return found

    def necessary_swaps(self, steps: list[tuple[Tensor, Tensor]]) -> None:
        """All pairs of each step, and the new correlations."""
        gram_II, w_OI = self.gram_II.double(), self.weight_OI.double()
        c_OI = w_OI.masked_fill(self.mask_OI, 0) @ gram_II
        for rows_R, mask_RI in steps:
            for at, stays_RI in zip(rows_R.split(ROWS_AT_ONCE), mask_RI.split(ROWS_AT_ONCE), strict=True):
                w_RI, c_RI = w_OI[at], c_OI[at]
                single_RI, double_RI = w_RI.square() * gram_II.diagonal(), 2 * w_RI * c_RI
                for w_I, a_I, b_I, stays_I in zip(
                    w_RI, single_RI + double_RI, single_RI - double_RI, stays_RI, strict=True
                ):
                    p_P, u_U = stays_I.nonzero()[:, 0], (~stays_I).nonzero()[:, 0]
                    pairs_PU = gram_II[p_P][:, u_U] * (-2 * w_I[p_P])[:, None]
                    pairs_PU.mul_(w_I[u_U]).add_(a_I[p_P][:, None]).add_(b_I[u_U]).min()
                c_OI[at] = c_RI + w_RI[:, :1] * gram_II[0] - w_RI[:, 1:2] * gram_II[1]

    def necessary_groups(self, steps: list[tuple[Tensor, Tensor]]) -> None:
        """All pairs of each group in each step, and the new correlations."""
        gram_II, w_OI, group = self.gram_II.double(), self.weight_OI.double(), self.group or 1
        c_OI, size = w_OI.masked_fill(self.mask_OI, 0) @ gram_II, len(gram_II) // group
        gram_KMM = gram_II.view(size, group, size, group).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        for rows_R, _ in steps:
            w_RI, c_RI = w_OI[rows_R], c_OI[rows_R]
            single_RI, double_RI = w_RI.square() * gram_II.diagonal(), 2 * w_RI * c_RI
            w_RKM = w_RI.view(-1, size, group)
            pairs_RKMM = -2 * w_RKM[:, :, :, None] * w_RKM[:, :, None, :] * gram_KMM
            pairs_RKMM += (single_RI + double_RI).view(-1, size, group)[:, :, :, None]
            pairs_RKMM += (single_RI - double_RI).view(-1, size, group)[:, :, None, :]
            if len(pairs_RKMM):
                pairs_RKMM.flatten(1).min(1)
            c_OI[rows_R] = c_RI + w_RI[:, :1] * gram_II[0] - w_RI[:, 1:2] * gram_II[1]

    def turned_over(self) -> Tensor:
        """The mask after its exchanges."""
        rule = Turnover(cycles=50, threshold=0.01, power=1.0, group=self.group)
        return rule.masks(self.weight_OI, self.mask_OI, self.within_OI, self.moments)

    def necessary_turnover(self) -> None:
        """The criteria, and their order."""
        w_OI = self.weight_OI.double()
        share_OI = w_OI * self.moments.mean_I
        (share_OI / self.moments.variance_I).sort(dim=1, stable=True)
        (w_OI.abs() * self.moments.square_I.sqrt()).sort(dim=1, stable=True)


class Blocks:
    """Damped Fisher matrices of some blocks, as many as are processed together."""

    def __init__(self, size: int, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        count = max(1, TILE_ENTRIES // size**2)
        g_GKB = torch.randn(count, size, size, generator=generator).cumsum(-1).double().to(device)
        unit_BB = torch.eye(size, dtype=torch.float64, device=device)
        self.f_GBB = g_GKB.mT @ g_GKB / size + 1e-3 * unit_BB
        self.w_GB = torch.randn(count, size, generator=generator).to(device)

    def eliminated(self) -> Tensor:
        """The scores of all weights."""
        return elimination_costs("w", self.f_GBB, self.w_GB, torch.ones_like(self.w_GB).bool())

    def necessary(self) -> None:
        """Factor, inverse, and as many changes of rank one as there are weights."""
        inverse_GBB = torch.cholesky_inverse(torch.linalg.cholesky(self.f_GBB))
        for at in range(self.w_GB.shape[1]):
            row_GB = inverse_GBB[:, at].clone()
            share_GB = row_GB / row_GB[:, at : at + 1] * 1e-9
            inverse_GBB.baddbmm_(row_GB[:, :, None], share_GB[:, None, :], alpha=-1)


def seconds(device: str, act: Callable[[], object]) -> float:
    """Time of an act, until the device has finished it."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    act()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def cases(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Name, method and necessary work of each case."""
    hidden, device = options.hidden, options.device
    for outputs, inputs in ((hidden, hidden), (hidden, 4 * hidden)):
        for density, group in ((0.5, None), (0.1, None), (0.5, 4)):
            of = Map(outputs, inputs, density, group, device)
            steps = of.steps(options.swaps)
            necessary = of.necessary_swaps if group is None else of.necessary_groups
            name = f"{outputs} x {inputs}, {'2:4' if group else f'{1 - density:g}'}"
            yield f"sparseswaps {name}", partial(of.swapped, options.swaps), partial(necessary, steps)
            yield f"dsnot {name}", of.turned_over, of.necessary_turnover
    for size in (16, 50, 192):
        blocks = Blocks(size, device)
        yield f"cap, {len(blocks.w_GB)} blocks of {size}", blocks.eliminated, blocks.necessary


def main() -> None:
    """Print seconds and ratios of each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--swaps", type=int, default=20, help="most swaps of a row")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{options.device}, {options.threads} threads, torch {torch.__version__}, "
        f"medians of {options.repeats} alternating runs"
    )
    for name, method, necessary in cases(options):
        seconds(options.device, method)  # the first call starts threads and allocates buffers
        pairs = [
            (seconds(options.device, necessary), seconds(options.device, method))
            for _ in range(options.repeats)
        ]
        work, own = (median(pair[at] for pair in pairs) for at in (0, 1))
        ratio = median(pair[1] / pair[0] for pair in pairs)
        print(f"{name:>30}: {own:.3f} s, necessary {work:.3f} s, ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
