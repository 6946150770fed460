"""oBERT on an encoder of 22.7 million parameters: weights per second and memory, against a loop over blocks.

    python benchmarks/fisher.py --block 50 --gradients 64 --memory 4096
    python benchmarks/fisher.py --device cuda --memory 16384

The encoder is a BERT of all-MiniLM-L6's shape with random weights; every matrix is in scope, embeddings
included. Two kinds of runs alternate, each in a process of its own:

    obert   `Surgeon.prune` to 90 %: Fisher matrices, costs, global threshold, compensation
    loop    the paper's equations, block after block in Python: rank-one updates of the inverse,
            costs, compensation; on a sample of blocks, with the same gradients

The time is that of the algebra; forward and backward passes are measured separately. Extra memory is
the growth of the peak after a forward and backward pass: of the process on the CPU, of torch's
allocations on an accelerator.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from smc_eval.methods.obert import Surgeon
from smc_eval.target import Target

KINDS = ("obert", "loop")
SHAPE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
BATCH, LENGTH = 4, 32
SPARSITY = 0.9


class Encoder:
    """A probe with gradients of a random task, and a clock for the time outside the algebra."""

    def __init__(self, device: str) -> None:
        torch.manual_seed(0)
        config = BertConfig(
            **SHAPE, vocab_size=30522, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )
        self.device = torch.device(device)
        self.model = BertModel(config).to(self.device).train()
        self.named = {name: weight for name, weight in self.model.named_parameters() if weight.ndim == 2}
        self.outside = 0.0
        self.passes = 0
        self.generator = torch.Generator()

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return {name: weight.detach() for name, weight in self.named.items()}

    @property
    def masks(self) -> Mapping[str, Tensor]:
        return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self.named.items()}

    def each_gradient(
        self, batches: int, size: int | None = None, *, dropout: bool = True
    ) -> Iterator[Mapping[str, Tensor]]:
        for number in range(batches):
            began = self.now()
            generator = torch.Generator().manual_seed(number)
            tokens = torch.randint(30522, (size or BATCH, LENGTH), generator=generator).to(self.device)
            targets = torch.randn(len(tokens), LENGTH, 384, generator=generator).to(self.device)
            self.model.zero_grad(set_to_none=True)
            outputs = self.model(tokens)
            loss = (outputs.last_hidden_state * targets).sum(-1).square().mean() + outputs.pooler_output[
                :, 0
            ].mean()
            loss.backward()
            self.passes += 1
            self.outside += self.now() - began
            yield {name: weight.grad for name, weight in self.named.items() if weight.grad is not None}

    def mend(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self.named[name].copy_(value)

    def now(self) -> float:
        """Seconds, after the device has finished its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def peak(self) -> float:
        """Peak memory so far, in MiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def obert(net: Encoder, args: argparse.Namespace) -> dict[str, float]:
    """The whole encoder, pruned by the method."""
    pruner = Surgeon(
        block=args.block,
        gradients=args.gradients,
        damping=1e-7,
        mend="joint",
        dropout=True,
        memory=args.memory,
    )
    memory, net.outside, net.passes, began = net.peak(), 0.0, 0, net.now()
    pruner.prune(net, Target(sparsity=SPARSITY, scope="all-2d"))
    seconds = net.now() - began - net.outside
    return {
        "weights": sum(weight.numel() for weight in net.named.values()),
        "seconds": seconds,
        "passes": net.passes,
        "outside": net.outside,
        "extra": net.peak() - memory,
    }


def loop(net: Encoder, args: argparse.Namespace) -> dict[str, float]:
    """A sample of blocks of one matrix, block after block."""
    name, size = "encoder.layer.0.intermediate.dense.weight", args.sample * args.block
    g_KN = torch.stack([g[name].reshape(-1)[:size].clone() for g in net.each_gradient(args.gradients)])
    w_N = net.weights[name].reshape(-1)[:size].double()
    w_N = w_N[: len(w_N) // args.block * args.block]
    began, costs, inverses = net.now(), [], []
    for first in range(0, len(w_N), args.block):
        w_B, g_KB = w_N[first : first + args.block], g_KN[:, first : first + args.block].double()
        inverse_BB = torch.eye(args.block, dtype=torch.float64, device=net.device) / 1e-7
        for g_B in g_KB:
            v_B = inverse_BB @ g_B
            inverse_BB -= torch.outer(v_B, v_B) / (len(g_KB) + g_B @ v_B)
        costs.append(w_B.square() / (2 * inverse_BB.diagonal()))
        inverses.append(inverse_BB)
    threshold = torch.cat(costs).quantile(SPARSITY)
    for first, cost_B, inverse_BB in zip(range(0, len(w_N), args.block), costs, inverses, strict=True):
        pruned_B = cost_B < threshold
        w_B = w_N[first : first + args.block]
        w_B -= inverse_BB[:, pruned_B] @ torch.linalg.solve(inverse_BB[pruned_B][:, pruned_B], w_B[pruned_B])
        w_B[pruned_B] = 0
    return {"weights": len(w_N), "seconds": net.now() - began}


def measure(args: argparse.Namespace) -> dict[str, float]:
    """One run of one kind in this process."""
    torch.set_num_threads(args.threads)
    net = Encoder(args.device)
    for _ in net.each_gradient(2):  # the first pass allocates buffers
        pass
    return obert(net, args) if args.run == "obert" else loop(net, args)


def main() -> None:
    """Run both kinds in turn and print a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--block", type=int, default=50)
    parser.add_argument("--gradients", type=int, default=64)
    parser.add_argument("--memory", type=int, default=4096, help="MiB for Fisher matrices")
    parser.add_argument("--sample", type=int, default=1000, help="blocks of the loop")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--run", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(measure(args)))
        return
    runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for _ in range(args.repeats):
        for kind in KINDS:
            command = [sys.executable, __file__, "--run", kind, *sys.argv[1:]]
            child = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[kind].append(json.loads(child.stdout))
    report(args, runs)


def report(args: argparse.Namespace, runs: Mapping[str, list[dict[str, Any]]]) -> None:
    """Print medians."""
    first = runs["obert"][0]
    parts = (first["passes"] // args.gradients + 1) // 2
    print(
        f"{first['weights']:,} weights, block {args.block}, {args.gradients} gradients, {args.device}, "
        f"{args.threads} threads, torch {torch.__version__}, medians of {args.repeats} alternating runs"
    )
    rates = {
        kind: median(run["weights"] / run["seconds"] for run in of_kind) for kind, of_kind in runs.items()
    }
    ranges = {
        kind: [bound(run["weights"] / run["seconds"] for run in of_kind) for bound in (min, max)]
        for kind, of_kind in runs.items()
    }
    for kind, (low, high) in ranges.items():
        print(f"{kind}  {rates[kind]:>11,.0f} weights/s ({low:,.0f} to {high:,.0f})")
    print(
        f"obert in {parts} parts, {first['passes']} passes: "
        f"algebra {median(run['seconds'] for run in runs['obert']):.1f} s, "
        f"passes {median(run['outside'] for run in runs['obert']):.1f} s"
    )
    whole = math.ceil(first["weights"] * 8 * args.block / 2**20)
    print(
        f"extra memory {median(r['extra'] for r in runs['obert']):,.0f} MiB; limit for matrices "
        f"{args.memory:,}, all of them at once would need {whole:,}"
    )
    print(f"obert is {rates['obert'] / rates['loop']:.1f} times as fast as the loop; expected 5")


if __name__ == "__main__":
    main()
