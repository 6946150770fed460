"""Time of Wanda and SparseGPT against the passes that they ask for, and against all their necessary work.

    python benchmarks/calibration.py --batches 32 --repeats 3

The net is a BERT-like encoder of random weights, 6 layers of 384 by default, on random tokens. The
necessary work is the forward passes, in eval mode; for Wanda also the sum of squares of the inputs of
each linear layer; for SparseGPT X^T X of these inputs, its decomposition and a triangular solution, and
one product of each weight with its factor. With calibrate=sequential each layer must run twice, once
observed and once more for the inputs of the next; with calibrate=once the net runs once. The last number
is the memory of the outputs that a walk keeps: those of one block. Shapes: N rows, I inputs, O outputs.
Bare passes, necessary work and method alternate in one process. Two ratios are printed, medians over
neighbouring runs: the method's time divided by that of the bare passes, in which nothing is observed, and
divided by that of the necessary work. Wanda's target is for the first, 1.2; SparseGPT's is for the second,
since its algebra takes longer than its passes. Masks, plans, checks and counts of operations are in the
method's time alone. On one thread of a CPU the process's own seconds are measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from statistics import median
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from smc_eval.card import TaskCard
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.methods.sparsegpt import Reconstruction
from smc_eval.methods.wanda import WandaScore
from smc_eval.pruner import Pruner
from smc_eval.recipe import Recipe
from smc_eval.score import Score
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.target import Target
from smc_eval.task import Part, Source, Task


class Sentences(Task):
    """Random tokens in sentences of one length, and a BERT-like encoder of random weights."""

    card: ClassVar[TaskCard] = TaskCard(
        name="sentences",
        summary="random tokens",
        source="smc-eval",
        metric="none",
        accepts=("tiny",),
        published="tiny",
    )
    recipe: Recipe = Recipe(steps=1)
    layers: int = 6
    hidden: int = 384
    words: int = 64
    examples: int = 512

    def sources(self) -> tuple[Source, ...]:
        """Made up."""
        return (Source("data", "synthetic", "0" * 64),)

    def data(self, part: Part) -> Sequence[list[int]]:
        """Sentences."""
        generator = torch.Generator().manual_seed(0)
        rows: list[list[int]] = torch.randint(
            0, 30_000, (self.examples, self.words), generator=generator
        ).tolist()
        return rows

    def model(self) -> nn.Module:
        """The encoder."""
        config = BertConfig(
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 32,
            intermediate_size=4 * self.hidden,
        )
        return BertModel(config, add_pooling_layer=False)

    def collate(self, examples: Sequence[list[int]]) -> Tensor:
        """Tokens [N, L]."""
        return torch.tensor(examples)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Any number that depends on all outputs."""
        return cast("Tensor", model(batch).last_hidden_state.mean())

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        """Never called."""
        raise NotImplementedError

    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        """Never called."""
        raise NotImplementedError


class Bench:
    """Probes over copies of one net, and its necessary passes over the same batches."""

    def __init__(self, task: Task, device: Device, count: int) -> None:
        self.device, self.batches = device, Batches(task, task.recipe, "start", device)
        self.model = task.model().eval().to(device.torch_device)
        self.layers = cast("Any", self.model).encoder.layer
        self.data = [self.batches.batch(places) for places in self.batches.sample_unpadded(count, "name")]

    def probe(self) -> NetProbe:
        """A probe over a copy of the net."""
        model = deepcopy(self.model)
        return NetProbe(Net(model, in_scope(model, "body")), self.batches, "name", Usage(), self.device)

    @torch.no_grad()
    def forward(self) -> None:
        """Forward passes of all batches."""
        for batch in self.data:
            with self.device.autocast(self.batches.recipe.precision):
                self.model(batch)

    @torch.no_grad()
    def walk(self, act: Callable[[nn.Linear, Tensor], None], solve: Callable[[], None]) -> None:
        """Each layer runs twice on the outputs of the one before: observed, and for its own outputs."""
        states = []
        for batch in self.data:
            with self.device.autocast(self.batches.recipe.precision):
                states.append(cast("Any", self.model).embeddings(batch))
        for number, layer in enumerate(self.layers):
            with self.device.autocast(self.batches.recipe.precision):
                with hooked(layer, act):
                    for x in states:
                        layer(x)
                solve()
                if number + 1 < len(self.layers):
                    states = [layer(x) for x in states]


@contextmanager
def hooked(model: nn.Module, act: Callable[[nn.Linear, Tensor], None]) -> Iterator[None]:
    """Within, `act` gets each `nn.Linear` and its inputs."""

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        act(cast("nn.Linear", module), args[0].flatten(0, -2).float())

    hooks = [m.register_forward_pre_hook(hook) for m in model.modules() if isinstance(m, nn.Linear)]
    yield
    for handle in hooks:
        handle.remove()


def passes(bench: Bench, *, sequential: bool) -> None:
    """The forward passes alone."""
    if sequential:
        bench.walk(lambda _module, _x: None, lambda: None)
    else:
        bench.forward()


@torch.no_grad()
def necessary_wanda(bench: Bench, *, sequential: bool) -> None:
    """Forward passes and sums of squares."""
    sums: dict[nn.Linear, Tensor] = {}

    def act(module: nn.Linear, x_NI: Tensor) -> None:
        sums[module] = sums.get(module, torch.zeros((), device=x_NI.device)) + x_NI.square().sum(0)

    if sequential:
        bench.walk(act, sums.clear)
        return
    with hooked(bench.model, act):
        bench.forward()


@torch.no_grad()
def necessary_sparsegpt(bench: Bench, *, sequential: bool) -> None:
    """Forward passes, products of inputs, and the linear algebra of each tensor."""
    grams: dict[nn.Linear, Tensor] = {}

    def act(module: nn.Linear, x_NI: Tensor) -> None:
        if module not in grams:
            grams[module] = torch.zeros(x_NI.shape[1], x_NI.shape[1], device=x_NI.device)
        grams[module].addmm_(x_NI.T, x_NI)

    def solve() -> None:
        for module, gram_II in grams.items():
            h_II = gram_II.double()
            unit_II = torch.eye(len(h_II), dtype=h_II.dtype, device=h_II.device)
            lower_II = torch.linalg.cholesky(h_II + 0.01 * h_II.diagonal().mean() * unit_II)
            inverse_II = torch.linalg.solve_triangular(lower_II, unit_II, upper=False)
            module.weight @ inverse_II.float()
        grams.clear()

    if sequential:
        bench.walk(act, solve)
        return
    with hooked(bench.model, act):
        bench.forward()
    solve()


def timed(device: torch.device, function: Callable[..., Any], *args: Any) -> float:
    """Seconds until the device has finished a call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    began = clock()
    function(*args)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


MOST = 1.2
"""The largest ratio: of Wanda's time to that of its passes, of SparseGPT's to that of its necessary work."""

Case = tuple[str, Pruner, Target, Callable[..., None]]
"""A name, what prunes, the target, and the necessary work."""


def main() -> None:
    """Print seconds and ratios of each method and target; exit with 1 if one is above its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--batches", type=int, default=32)
    parser.add_argument("--size", type=int, default=16, help="examples of a batch")
    parser.add_argument("--length", type=int, default=64, help="tokens of an example")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="", help="cases whose names begin with this")
    parser.add_argument("--bf16", action="store_true", help="forward passes under autocast")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = Device(options.device, threads=options.threads)
    recipe = Recipe(steps=1, batch_size=options.size, precision="bf16" if options.bf16 else "fp32")
    task = Sentences(
        recipe=recipe,
        layers=options.layers,
        hidden=options.hidden,
        words=options.length,
        examples=options.size * options.batches,
    )
    bench = Bench(task, device, options.batches)
    weights = sum(weight.numel() for weight in bench.probe().weights.values())
    print(
        f"{options.layers} x {options.hidden}, {weights:,} weights in scope, {options.batches} batches of "
        f"{options.size} x {options.length} tokens, {options.device}, {options.threads} threads, "
        f"torch {torch.__version__}, medians of {options.repeats} alternating runs"
    )
    where = device.torch_device
    bench.forward()  # the first call starts threads and allocates buffers
    print(f"forward passes alone: {median(timed(where, bench.forward) for _ in range(3)):.2f} s")
    half, pattern = Target(sparsity=0.5, distribution="rows"), Target.parse("2:4")
    uniform = half.with_distribution("uniform")
    missed = []
    for calibrate in ("once", "sequential"):
        own = {"batches": options.batches, "calibrate": calibrate}
        cases: list[Case] = [
            ("wanda 0.5", WandaScore(**own), half, necessary_wanda),
            ("wanda 2:4", WandaScore(**own), pattern, necessary_wanda),
            ("sparsegpt 0.5", Reconstruction(**own), uniform, necessary_sparsegpt),
            ("sparsegpt 2:4", Reconstruction(**own), pattern, necessary_sparsegpt),
        ]
        missed += [
            f"{case[0]} {calibrate}"
            for case in cases
            if case[0].startswith(options.only) and ratio(bench, case, calibrate, options.repeats) > MOST
        ]
    if missed:
        raise SystemExit(f"above {MOST}: {', '.join(missed)}")


def ratio(bench: Bench, case: Case, calibrate: str, repeats: int) -> float:
    """Run a case and print its line. Returns the ratio that has the target."""
    name, pruner, target, necessary = case
    where, sequential = bench.device.torch_device, calibrate == "sequential"
    bare = partial(passes, bench, sequential=sequential)
    work = partial(necessary, bench, sequential=sequential)
    probes = [bench.probe() for _ in range(repeats)]
    runs = [
        (timed(where, bare), timed(where, work), timed(where, pruner.prune, probe, target))
        for probe in probes
    ]
    alone, needed, seconds = (median(run[at] for run in runs) for at in range(3))
    to_passes, to_needed = (median(run[2] / run[at] for run in runs) for at in (0, 1))
    print(
        f"{name:>13} {calibrate:>10}: {seconds:.2f} s, passes {alone:.2f} s, "
        f"necessary {needed:.2f} s, ratio to passes {to_passes:.2f}, to necessary {to_needed:.2f}, "
        f"{probes[0].kept_mebibytes:.1f} MiB of outputs kept"
    )
    return to_passes if name.startswith("wanda") else to_needed


if __name__ == "__main__":
    main()
