"""Exact global selection against `torch.kthvalue` on everything concatenated: time and extra memory.

    python benchmarks/selection.py --size 100000000 --repeats 5

Each run is a process of its own, the two kinds alternate, and medians are reported. Extra memory is
the growth of the process's peak from the moment the saliencies are there. `select.largest` ends
with masks, a byte a weight, which are counted in its time and shown apart in its memory; kthvalue
ends with a threshold alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from itertools import pairwise
from statistics import median

import torch

from smc_eval.sparse.select import largest

KINDS = ("largest", "kthvalue")


def saliencies(size: int, tensors: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Magnitudes of normal weights, in tensors of as equal a size as can be."""
    generator = torch.Generator().manual_seed(seed)
    ends = [size * number // tensors for number in range(tensors + 1)]
    return {
        f"layer{number:03}": torch.empty(end - start).normal_(generator=generator).abs_()
        for number, (start, end) in enumerate(pairwise(ends))
    }


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure(kind: str, size: int, tensors: int, sparsity: float, threads: int) -> dict[str, float]:
    """Seconds, extra megabytes and the threshold of one run in this process."""
    torch.set_num_threads(threads)
    values = saliencies(size, tensors)
    small = saliencies(1000, 3)
    keep = round(size * (1 - sparsity))
    run = {"largest": by_selection, "kthvalue": by_kthvalue}[kind]
    run(small, 500)  # the first call of anything pays for threads and buffers
    before, start = peak_megabytes(), time.perf_counter()
    threshold = run(values, keep)
    return {"seconds": threshold.at - start, "extra": threshold.peak - before, "threshold": threshold.value}


def by_selection(values: dict[str, torch.Tensor], keep: int) -> dict[str, torch.Tensor]:
    """Masks, as pruning makes them."""
    return largest(values, keep)


def by_kthvalue(values: dict[str, torch.Tensor], keep: int) -> float:
    """The threshold alone, which is all that kthvalue tells."""
    joined = torch.cat([tensor.flatten() for tensor in values.values()])
    return float(joined.kthvalue(len(joined) - keep + 1).values)


def main() -> None:
    """Run both kinds in turn and print how they compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000_000, help="saliencies in all")
    parser.add_argument("--tensors", type=int, default=40)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--run", choices=KINDS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        found = measure(asked.run, asked.size, asked.tensors, asked.sparsity, asked.threads)
        print(json.dumps(found))
        return
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(asked.repeats):
        for kind in KINDS:
            command = [sys.executable, __file__, "--run", kind, *sys.argv[1:]]
            child = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[kind].append(json.loads(child.stdout))
    if len({run["threshold"] for found in runs.values() for run in found}) != 1:
        raise SystemExit("the two disagree about the threshold")
    print(
        f"{asked.size:,} saliencies in {asked.tensors} tensors, sparsity {asked.sparsity:g}, "
        f"{asked.threads} threads, torch {torch.__version__}, median of {asked.repeats}"
    )
    for kind, found in runs.items():
        seconds, extra = (median(run[what] for run in found) for what in ("seconds", "extra"))
        masks = f", {extra - asked.size / 2**20:,.0f} MiB of it no mask" if kind == "largest" else ""
        print(f"{kind:>10}: {seconds:.3f} s, {extra:,.0f} MiB more memory{masks}")
    for what in ("seconds", "extra"):
        ratio = median(
            theirs[what] / max(ours[what], 1e-9)
            for ours, theirs in zip(runs["largest"], runs["kthvalue"], strict=True)
        )
        print(f"kthvalue / largest, {what}: {ratio:.2f}")


if __name__ == "__main__":
    main()
