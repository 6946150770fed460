"""Time of the search of ALPS in one layer against the linear algebra that it needs, and of RIA's order.

    python benchmarks/admm.py --inputs 384,1536 --repeats 3

The necessary work is one eigendecomposition of the inputs' Gram matrix, one inverse for each three
iterations, one product of weights and inverse for each iteration, and one for each step of conjugate
gradients. The search may end before the last iteration, which it seldom does. The order of inputs is
compared with nothing: its seconds are printed. Shapes: O outputs, I inputs. The two alternate in one
process, and the median of the ratios of neighbouring runs is printed. The script ends with 1 if a ratio is
above 2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from smc_eval.sparse.admm import EVERY, Search, admm
from smc_eval.sparse.channels import best_order
from smc_eval.sparse.quota import PlainQuota

LIMIT = 2.0


def layer(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """Random weights, and the Gram matrix of correlated inputs."""
    mix_II = torch.randn(inputs, inputs) / inputs**0.5 + 0.5 * torch.eye(inputs)
    x_NI = (torch.randn(2 * inputs, inputs) @ mix_II).relu() * (0.2 + 2 * torch.rand(inputs))
    return torch.randn(outputs, inputs) / inputs**0.5, x_NI.T @ x_NI


@torch.no_grad()
def necessary(weight_OI: Tensor, gram_II: Tensor, search: Search) -> None:
    """The linear algebra of a search that takes all its iterations."""
    h_II = gram_II.double() / gram_II.diagonal().mean()
    roots_I, basis_II = torch.linalg.eigh(h_II)
    for _ in range(search.iterations // EVERY):
        inverse_II = ((basis_II / (roots_I + 0.1)) @ basis_II.T).float()
        for _ in range(EVERY):
            weight_OI @ inverse_II
    for _ in range(search.refinements):
        weight_OI @ gram_II


def timed(function: Callable[..., Any], *args: Any) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    function(*args)
    return time.perf_counter() - began


def main() -> int:
    """Print seconds and ratios of each shape and quota; 1 if a ratio is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", default="384,1536")
    parser.add_argument("--outputs", type=int, default=384)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    search, slow = Search(iterations=options.iterations), False
    for inputs in map(int, options.inputs.split(",")):
        weight_OI, gram_II = layer(options.outputs, inputs)
        within_OI = torch.ones_like(weight_OI, dtype=torch.bool)
        quotas: list[PlainQuota] = [round(0.3 * weight_OI.numel()), (2, 4)]
        for quota in quotas:
            bands = [(slice(0, len(weight_OI)), gram_II)]
            pairs = [
                (
                    timed(necessary, weight_OI, gram_II, search),
                    timed(admm, weight_OI, within_OI, bands, quota, search),
                )
                for _ in range(options.repeats)
            ]
            ratio = median(own / least for least, own in pairs)
            slow = slow or ratio > LIMIT
            seconds = [median(pair[at] for pair in pairs) for at in (1, 0)]
            name = f"{quota[0]}:{quota[1]}" if isinstance(quota, tuple) else "0.7"
            print(
                f"alps {options.outputs} x {inputs} at {name}: {seconds[0]:.2f} s, "
                f"necessary {seconds[1]:.2f} s, ratio {ratio:.2f}"
            )
        order = median(timed(best_order, weight_OI.abs(), 2, 4) for _ in range(options.repeats))
        print(f"order of {inputs} inputs for 2:4: {order:.2f} s")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
