"""The cost of the engine: its rate of training and evaluation beside a bare PyTorch loop.

    python benchmarks/engine.py --data-dir DIR --corpus ntrex --text pkg:NAME --protein pkg:NAME

The bare loop has the same batches, collation, loss, optimizer, schedule and clipping, and nothing else. Its
batches are chosen before the clock starts. Both train their own net from the same weights, step by step in
turn: engine, bare, bare, engine. Evaluation goes batch by batch in the same way. Batches are small, four
examples a pass, so that turns are short; with the batches of the recipes the engine costs less. Translations
end at 40 tokens. The result is the median ratio of neighbouring turns, so that other programs matter little.
On one thread, process time is measured. Without arguments, data and models are synthetic.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from real import clock, label, parse_args, tasks
from torch import nn

from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.optimizer import make_optimizer
from smc_eval.engine.predict import predict
from smc_eval.engine.train import Training
from smc_eval.engine.usage import Usage
from smc_eval.experiment.cell import Cell, chain
from smc_eval.methods.dense import Dense
from smc_eval.protocol import SOUND
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.tasks.translation.translation import Translation

LIMIT = 0.95
"""Target: smallest share of the rate of the bare loop."""

LONGEST = 40
"""Tokens of a translation; an untrained net would not end it."""

FEWEST, MOST = 4, 400
"""Rounds of a measurement; the first one is not counted."""


class Lists(Batches):
    """Batches that are lists of their examples."""

    def batch(self, places: Sequence[int]) -> list[Any]:
        return [self.examples[i] for i in places]


class Bare:
    """A plain training loop for one task."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        self.task, self.model, self.recipe = task, model, task.recipe
        self.optimizer = make_optimizer(task, Net(model, ()), task.recipe)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def step(self, passes: Sequence[tuple[Any, float]], rate: float) -> None:
        """One optimizer step over some forward passes, each with its share of the loss."""
        for group, peak in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = peak * rate
        self.optimizer.zero_grad(set_to_none=True)
        for examples, share in passes:
            (self.task.loss(self.model, self.task.collate(examples)) * share).backward()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()


def new_training(task: Task, device: Device) -> Training:
    """A dense training before its first step."""
    cell = Cell(task=task, method=Dense(), target=Target(), protocol=SOUND)
    links = chain(cell, task.sources(), len(task.data("train")))
    device.seed(links.start)
    model = task.model().train()
    batches = Batches(task, task.recipe, links.start, device)
    return Training(Net(model, in_scope(model, "body")), links.links[0], batches, Usage(), device, None)


def compared(
    what: str, engine: Callable[[int], object], bare: Callable[[int], object], seconds: float
) -> float:
    """Print and return the ratio of two rates, the median over rounds without the first."""
    times: tuple[list[float], list[float]] = [], []
    since = time.monotonic()
    while len(times[0]) < FEWEST or (len(times[0]) < MOST and time.monotonic() - since < seconds):
        number = len(times[0])
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            began = clock()
            (engine, bare)[which](number)
            times[which].append(clock() - began)
    own, other = (each[1:] for each in times)
    ratio = median(b / a for a, b in zip(own, other, strict=True))
    print(
        f"  {what} {1000 * median(own):7.1f} ms, bare {1000 * median(other):7.1f} ms; "
        f"rate {ratio:.3f} of bare, median of {len(own)}",
        flush=True,
    )
    return ratio


def trained(task: Task, seconds: float, device: Device) -> tuple[nn.Module, float]:
    """Train in both ways; returns the net, and the engine's rate as a share of the bare rate."""
    training = new_training(task, device)
    bare = Bare(task, copy.deepcopy(training.net.model))
    order = Lists(task, task.recipe, training.batches.start, device)
    batches = [list(order.step(step)) for step in range(MOST)]

    def bare_step(number: int) -> None:
        bare.step(batches[number], task.recipe.rate(number, order.total))

    def engine_step(_: int) -> None:
        training._advance()  # noqa: SLF001  # the loop without files and progress

    return training.net.model, compared("training", engine_step, bare_step, seconds)


def evaluated(task: Task, model: nn.Module, seconds: float, device: Device) -> float:
    """Evaluate in both ways, batch by batch; returns the share of the bare rate."""
    recipe, examples = task.recipe, task.data("test")
    size = recipe.eval_batch_size
    batches = [examples[first : first + size] for first in range(0, len(examples) - size + 1, size)]
    model.eval()

    def bare(number: int) -> None:
        with torch.no_grad():
            task.predict(model, task.collate(batches[number % len(batches)]))

    def engine(number: int) -> None:
        predict(task, model, batches[number % len(batches)], recipe, device)

    return compared("evaluation", engine, bare, seconds)


def main() -> None:
    """Measure the three tasks; exit with 1 if a share is below the target."""
    args = parse_args(__doc__, seconds=16, size=4)
    device = Device("cpu", threads=args.threads)
    shares = []
    for task in tasks(args):
        print(label(task), flush=True)
        small = task.recipe.model_copy(update={"batch_size": args.size, "eval_batch_size": args.size})
        task = task.replace(recipe=small)
        model, share = trained(task, args.seconds, device)
        if isinstance(task, Translation):
            task = task.replace(longest=LONGEST)
        shares += [share, evaluated(task, model, args.seconds, device)]
    print(f"least {min(shares):.3f}, target {LIMIT}")
    raise SystemExit(min(shares) < LIMIT)


if __name__ == "__main__":
    main()
