"""Time of Wanda and SparseGPT against their necessary work: forward passes and linear algebra.

    python benchmarks/calibration.py --batches 32 --repeats 3

The net is a BERT-like encoder of random weights, 6 layers of 384 by default, on random tokens. The
necessary work is the forward passes, in eval mode; for Wanda also the sum of squares of the inputs of
each linear layer; for SparseGPT X^T X of these inputs, its decomposition and a triangular solution, and
one product of each weight with its factor. Shapes: N rows, I inputs, O outputs. Method and necessary
work alternate in one process, and the median of the ratios of neighbouring runs is printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from smc_eval.methods.sparsegpt import Reconstruction
from smc_eval.methods.wanda import WandaScore
from smc_eval.pruner import Pruner
from smc_eval.sparse.inputs import InputObserver, observing
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.target import Target


class CalibrationProbe:
    """A probe that runs an encoder over the same random batches."""

    def __init__(self, net: Net, batches: list[Tensor], autocast: Callable[[], Any]) -> None:
        self.net, self.data, self.autocast = net, batches, autocast
        self.weights, self.masks, self.shards = net.weights, net.full_masks, net.shards

    @torch.no_grad()
    def forward(self) -> None:
        """Forward passes of all batches."""
        for tokens_NL in self.data:
            with self.autocast():
                self.net.model(tokens_NL)

    @torch.no_grad()
    def inputs(self, batches: int, observer: InputObserver) -> None:
        """Forward passes that give all inputs of weights to the observer."""
        with observing(self.net.model, self.weights, observer):
            self.forward()

    def mend(self, weights: Any) -> None:
        """Do nothing, so that every run has the same net."""


@contextmanager
def hooked(model: nn.Module, act: Callable[[nn.Linear, Tensor], None]) -> Iterator[None]:
    """Within, `act` gets each `nn.Linear` and its inputs."""

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        act(cast("nn.Linear", module), args[0].flatten(0, -2).float())

    hooks = [m.register_forward_pre_hook(hook) for m in model.modules() if isinstance(m, nn.Linear)]
    yield
    for handle in hooks:
        handle.remove()


@torch.no_grad()
def necessary_wanda(probe: CalibrationProbe) -> None:
    """Forward passes and sums of squares."""
    sums: dict[nn.Linear, Tensor] = {}

    def act(module: nn.Linear, x_NI: Tensor) -> None:
        sums[module] = sums.get(module, torch.zeros((), device=x_NI.device)) + x_NI.square().sum(0)

    with hooked(probe.net.model, act):
        probe.forward()


@torch.no_grad()
def necessary_sparsegpt(probe: CalibrationProbe) -> None:
    """Forward passes, products of inputs, and the linear algebra of each tensor."""
    grams: dict[nn.Linear, Tensor] = {}

    def act(module: nn.Linear, x_NI: Tensor) -> None:
        if module not in grams:
            grams[module] = torch.zeros(x_NI.shape[1], x_NI.shape[1], device=x_NI.device)
        grams[module].addmm_(x_NI.T, x_NI)

    with hooked(probe.net.model, act):
        probe.forward()
    for module, gram_II in grams.items():
        h_II = gram_II.double()
        unit_II = torch.eye(len(h_II), dtype=h_II.dtype, device=h_II.device)
        lower_II = torch.linalg.cholesky(h_II + 0.01 * h_II.diagonal().mean() * unit_II)
        inverse_II = torch.linalg.solve_triangular(lower_II, unit_II, upper=False)
        module.weight @ inverse_II.float()


def timed(device: torch.device, function: Callable[..., Any], *args: Any) -> float:
    """Seconds until the device has finished a call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    function(*args)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Print seconds and ratios of each method and target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--batches", type=int, default=32)
    parser.add_argument("--size", type=int, default=16, help="examples of a batch")
    parser.add_argument("--length", type=int, default=64, help="tokens of an example")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="forward passes under autocast")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, hidden = torch.device(options.device), options.hidden
    config = BertConfig(
        hidden_size=hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=hidden // 32,
        intermediate_size=4 * hidden,
    )
    model = BertModel(config, add_pooling_layer=False).eval().to(device)
    net = Net(model, in_scope(model, "body"))
    tokens = [
        torch.randint(0, 30_000, (options.size, options.length), device=device)
        for _ in range(options.batches)
    ]
    probe = CalibrationProbe(
        net, tokens, lambda: torch.autocast(device.type, torch.bfloat16, enabled=options.bf16)
    )
    weights = sum(weight.numel() for weight in net.weights.values())
    print(
        f"{options.layers} x {hidden}, {weights:,} weights in scope, {options.batches} batches of "
        f"{options.size} x {options.length} tokens, {device}, {options.threads} threads, "
        f"torch {torch.__version__}, medians of {options.repeats} alternating runs"
    )
    probe.forward()  # the first call starts threads and allocates buffers
    print(f"forward passes alone: {median(timed(device, probe.forward) for _ in range(3)):.2f} s")
    wanda, sparsegpt = WandaScore(batches=options.batches), Reconstruction(batches=options.batches)
    cases: list[tuple[str, Pruner, Target, Callable[[CalibrationProbe], None]]] = [
        ("wanda 0.5", wanda, Target(sparsity=0.5, distribution="rows"), necessary_wanda),
        ("wanda 2:4", wanda, Target.parse("2:4"), necessary_wanda),
        ("sparsegpt 0.5", sparsegpt, Target(sparsity=0.5, distribution="uniform"), necessary_sparsegpt),
        ("sparsegpt 2:4", sparsegpt, Target.parse("2:4"), necessary_sparsegpt),
    ]
    for name, pruner, target, necessary in cases:
        pairs = [
            (timed(device, necessary, probe), timed(device, pruner.prune, probe, target))
            for _ in range(options.repeats)
        ]
        necessary_seconds, seconds = (median(pair[at] for pair in pairs) for at in (0, 1))
        ratio = median(pair[1] / pair[0] for pair in pairs)
        print(f"{name:>13}: {seconds:.2f} s, necessary {necessary_seconds:.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
