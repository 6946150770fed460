"""What Wanda and SparseGPT cost beside the forward passes and the linear algebra that they cannot do without.

    python benchmarks/calibration.py --batches 32 --repeats 3

The net is a BERT-like encoder of random weights, 6 layers of 384 by default, on random tokens. The
bare work is the forward passes alone, in eval mode; for Wanda also the sum of squares of what each
linear map is given; for SparseGPT X^T X of each, its decomposition and a triangular solution, and
one product of each weight with its factor. Shapes: N rows, I inputs, O outputs. Both kinds
alternate in one process, and medians of the ratios of neighbours are printed.
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


class Window:
    """A probe that runs an encoder over the same random batches."""

    def __init__(self, net: Net, batches: list[Tensor], autocast: Callable[[], Any]) -> None:
        self.net, self.data, self.autocast = net, batches, autocast
        self.weights, self.masks = net.weights, net.full_masks

    @torch.no_grad()
    def forward(self) -> None:
        """All batches, and nothing else."""
        for tokens_NL in self.data:
            with self.autocast():
                self.net.model(tokens_NL)

    @torch.no_grad()
    def inputs(self, batches: int, see: InputObserver) -> None:
        """As a probe does."""
        with observing(self.net.model, self.weights, see):
            self.forward()

    def mend(self, weights: Any) -> None:
        """Leave the net as it is: every run finds the same."""


@contextmanager
def hooked(model: nn.Module, act: Callable[[nn.Linear, Tensor], None]) -> Iterator[None]:
    """Within, `act` is given what each `nn.Linear` is."""

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        act(cast("nn.Linear", module), args[0].flatten(0, -2).float())

    hooks = [m.register_forward_pre_hook(hook) for m in model.modules() if isinstance(m, nn.Linear)]
    yield
    for handle in hooks:
        handle.remove()


@torch.no_grad()
def bare_wanda(window: Window) -> None:
    """Forward passes, and sums of squares."""
    sums: dict[nn.Linear, Tensor] = {}

    def act(module: nn.Linear, x_NI: Tensor) -> None:
        sums[module] = sums.get(module, torch.zeros((), device=x_NI.device)) + x_NI.square().sum(0)

    with hooked(window.net.model, act):
        window.forward()


@torch.no_grad()
def bare_sparsegpt(window: Window) -> None:
    """Forward passes, products of inputs, and what the algorithm needs of each tensor."""
    grams: dict[nn.Linear, Tensor] = {}

    def act(module: nn.Linear, x_NI: Tensor) -> None:
        if module not in grams:
            grams[module] = torch.zeros(x_NI.shape[1], x_NI.shape[1], device=x_NI.device)
        grams[module].addmm_(x_NI.T, x_NI)

    with hooked(window.net.model, act):
        window.forward()
    for module, gram_II in grams.items():
        h_II = gram_II.double()
        unit_II = torch.eye(len(h_II), dtype=h_II.dtype, device=h_II.device)
        lower_II = torch.linalg.cholesky(h_II + 0.01 * h_II.diagonal().mean() * unit_II)
        inverse_II = torch.linalg.solve_triangular(lower_II, unit_II, upper=False)
        module.weight @ inverse_II.float()


def timed(device: torch.device, act: Callable[..., Any], *given: Any) -> float:
    """Seconds until an act is really done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    since = time.perf_counter()
    act(*given)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - since


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
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    device, hidden = torch.device(asked.device), asked.hidden
    config = BertConfig(
        hidden_size=hidden,
        num_hidden_layers=asked.layers,
        num_attention_heads=hidden // 32,
        intermediate_size=4 * hidden,
    )
    model = BertModel(config, add_pooling_layer=False).eval().to(device)
    net = Net(model, in_scope(model, "body"))
    tokens = [
        torch.randint(0, 30_000, (asked.size, asked.length), device=device) for _ in range(asked.batches)
    ]
    window = Window(net, tokens, lambda: torch.autocast(device.type, torch.bfloat16, enabled=asked.bf16))
    weights = sum(weight.numel() for weight in net.weights.values())
    print(
        f"{asked.layers} x {hidden}, {weights:,} weights in scope, {asked.batches} batches of {asked.size} x "
        f"{asked.length} tokens, {device}, {asked.threads} threads, torch {torch.__version__}, "
        f"medians of {asked.repeats} alternating runs"
    )
    window.forward()  # the first call of anything pays for threads and buffers
    print(f"forward passes alone: {median(timed(device, window.forward) for _ in range(3)):.2f} s")
    wanda, sparsegpt = WandaScore(batches=asked.batches), Reconstruction(batches=asked.batches)
    cases: list[tuple[str, Pruner, Target, Callable[[Window], None]]] = [
        ("wanda 0.5", wanda, Target(sparsity=0.5, distribution="rows"), bare_wanda),
        ("wanda 2:4", wanda, Target.parse("2:4"), bare_wanda),
        ("sparsegpt 0.5", sparsegpt, Target(sparsity=0.5, distribution="uniform"), bare_sparsegpt),
        ("sparsegpt 2:4", sparsegpt, Target.parse("2:4"), bare_sparsegpt),
    ]
    for name, pruner, target, bare in cases:
        pairs = [
            (timed(device, bare, window), timed(device, pruner.prune, window, target))
            for _ in range(asked.repeats)
        ]
        needed, spent = (median(pair[at] for pair in pairs) for at in (0, 1))
        ratio = median(pair[1] / pair[0] for pair in pairs)
        print(f"{name:>13}: {spent:.2f} s, needed {needed:.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
