"""Exact global selection against `torch.kthvalue` of all values concatenated: time and extra memory.

    python benchmarks/selection.py --size 100000000 --repeats 5

Each run is a process of its own, the two kinds alternate, and medians are printed. Extra memory is
the growth of the process's peak after the saliencies are made. `select.largest` returns masks, one byte
a weight, which count in its time and memory; kthvalue returns a threshold alone.
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
    """Magnitudes of normal weights, in tensors of nearly equal size."""
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
    values, few = saliencies(size, tensors), saliencies(1000, 3)
    keep = round(size * (1 - sparsity))
    if kind == "largest":
        largest(few, 500)  # the first call starts threads and allocates buffers
        memory, clock = peak_megabytes(), time.perf_counter()
        masks = largest(values, keep)
    else:
        kth_of_joined(few, 500)
        memory, clock = peak_megabytes(), time.perf_counter()
        threshold = kth_of_joined(values, keep)
    seconds, extra = time.perf_counter() - clock, peak_megabytes() - memory
    if kind == "largest":
        threshold = lowest_remaining(values, masks, keep)
    return {"seconds": seconds, "extra": extra, "threshold": threshold}


def kth_of_joined(values: dict[str, torch.Tensor], keep: int) -> float:
    """The `keep`-th largest value, by concatenating all of them."""
    joined = torch.cat([tensor.flatten() for tensor in values.values()])
    return float(joined.kthvalue(len(joined) - keep + 1).values)


def lowest_remaining(values: dict[str, torch.Tensor], masks: dict[str, torch.Tensor], keep: int) -> float:
    """The smallest value that stays, if exactly `keep` do."""
    count = sum(int(mask.count_nonzero()) for mask in masks.values())
    if count != keep:
        raise SystemExit(f"largest kept {count} values, expected {keep}")
    return min(float(tensor[masks[name]].min()) for name, tensor in values.items() if masks[name].any())


def main() -> None:
    """Run both kinds in turn and print a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000_000, help="saliencies of all tensors together")
    parser.add_argument("--tensors", type=int, default=40)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--run", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        result = measure(args.run, args.size, args.tensors, args.sparsity, args.threads)
        print(json.dumps(result))
        return
    print(
        f"{args.size:,} saliencies in {args.tensors} tensors, sparsity {args.sparsity:g}, "
        f"{args.threads} threads, torch {torch.__version__}, medians of {args.repeats} alternating runs"
    )
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(args.repeats):
        for kind in KINDS:
            command = [sys.executable, __file__, "--run", kind, *sys.argv[1:]]
            child = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[kind].append(json.loads(child.stdout))
    report(runs, args.size)


def report(runs: dict[str, list[dict[str, float]]], size: int) -> None:
    """Print medians of both kinds, and of the ratios of neighbouring runs."""
    if len({run["threshold"] for kind in KINDS for run in runs[kind]}) != 1:
        raise SystemExit("the thresholds of largest and kthvalue differ")
    for kind in KINDS:
        seconds, extra = (median(run[unit] for run in runs[kind]) for unit in ("seconds", "extra"))
        note = f", of which {size / 2**20:,.0f} are the masks" if kind == "largest" else ""
        print(f"{kind:>8}: {seconds:.3f} s, {extra:,.0f} MiB more{note}")
    for unit in ("seconds", "extra"):
        pairs = zip(runs["largest"], runs["kthvalue"], strict=True)
        ratio = median(kth[unit] / max(own[unit], 1e-9) for own, kth in pairs)
        print(f"kthvalue / largest, {unit}: {ratio:.2f}")


if __name__ == "__main__":
    main()
