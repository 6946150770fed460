"""What the engine costs: how fast it trains and evaluates beside a bare PyTorch loop over the same batches.

    python benchmarks/engine.py --data-dir DIR --corpus ntrex --text pkg:NAME --protein pkg:NAME

The bare loop has the same examples in the same batches, the same collation, loss, optimizer, schedule
and clipping, and nothing else. Its batches are chosen before the clock starts. Both train a net of
their own from the same weights, step by step in turn: ours, bare, bare, ours. Evaluation goes batch by
batch in the same way. Batches are small, four examples a pass, so that turns are short; the engine's share
is larger than with the recipes' own. Translations are cut at 40 tokens. Reported is the median ratio of
neighbours, so that what else the machine does counts little; on one thread it is of the process's own
seconds, which it touches less still. Without arguments data and models are synthetic.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from real import asked, clock, label, tasks
from torch import nn

from smc_eval.engine.batches import Batches, predict
from smc_eval.engine.device import Device
from smc_eval.engine.optimizer import optimizer
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
"""What the project promises, as a share of the bare loop's rate."""

LONGEST = 40
"""Tokens of a translation: an untrained net knows no end."""

FEWEST, MOST = 4, 400
"""Rounds of a measurement, the first left out."""


class Lists(Batches):
    """The same feed, whose batches are the lists of their examples."""

    def _batch(self, chosen: Sequence[int]) -> list[Any]:
        return [self.examples[i] for i in chosen]


class Bare:
    """A training as one would write it for this task alone."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        self.task, self.model, self.recipe = task, model, task.recipe
        self.optimizer = optimizer(task, model, task.recipe)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def step(self, passes: Sequence[tuple[Any, float]], rate: float) -> None:
        """One optimizer step over so many forward passes, each with its share of the examples."""
        for group, peak in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = peak * rate
        self.optimizer.zero_grad(set_to_none=True)
        for examples, share in passes:
            (self.task.loss(self.model, self.task.collate(examples)) * share).backward()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()


def begun(task: Task, device: Device) -> Training:
    """A dense training before its first step."""
    cell = Cell(task=task, method=Dense(), target=Target(), protocol=SOUND)
    bound = chain(cell, task.sources(), len(task.data("train")))
    device.seed(bound.start)
    model = task.model().train()
    batches = Batches(task, task.recipe, bound.start, device)
    return Training(Net(model, in_scope(model, "body")), bound.links[0], batches, Usage(), device, None)


def compared(
    what: str, ours: Callable[[int], object], bare: Callable[[int], object], seconds: float
) -> float:
    """Print and return how the rates of two works compare, round by round, the first left out."""
    times: tuple[list[float], list[float]] = [], []
    since = time.monotonic()
    while len(times[0]) < FEWEST or (len(times[0]) < MOST and time.monotonic() - since < seconds):
        number = len(times[0])
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            began = clock()
            (ours, bare)[which](number)
            times[which].append(clock() - began)
    mine, other = (each[1:] for each in times)
    ratio = median(b / a for a, b in zip(mine, other, strict=True))
    print(
        f"  {what} {1000 * median(mine):7.1f} ms, bare {1000 * median(other):7.1f} ms; "
        f"rate {ratio:.3f} of bare, median of {len(mine)}",
        flush=True,
    )
    return ratio


def trained(task: Task, seconds: float, device: Device) -> tuple[nn.Module, float]:
    """Train a net in both ways; returns it, and its rate as a share of the bare one."""
    training = begun(task, device)
    bare = Bare(task, copy.deepcopy(training.net.model))
    order = Lists(task, task.recipe, training.batches.start, device)
    batches = [list(order.step(step)) for step in range(MOST)]

    def bare_step(number: int) -> None:
        bare.step(batches[number], task.recipe.rate(number, order.total))

    def our_step(_: int) -> None:
        training._advance()  # noqa: SLF001  # the loop without its files and screen

    return training.net.model, compared("training", our_step, bare_step, seconds)


def evaluated(task: Task, model: nn.Module, seconds: float, device: Device) -> float:
    """Evaluate in both ways, a batch after the other; returns the share again."""
    recipe, examples = task.recipe, task.data("test")
    size = recipe.eval_batch_size
    batches = [examples[first : first + size] for first in range(0, len(examples) - size + 1, size)]
    model.eval()

    def bare(number: int) -> None:
        with torch.no_grad():
            task.predict(model, task.collate(batches[number % len(batches)]))

    def ours(number: int) -> None:
        predict(task, model, batches[number % len(batches)], recipe, device)

    return compared("evaluation", ours, bare, seconds)


def main() -> None:
    """Measure the three; end with 1 where the engine costs more than promised."""
    said = asked(__doc__, seconds=16, size=4)
    device = Device("cpu", threads=said.threads)
    shares = []
    for task in tasks(said):
        print(label(task), flush=True)
        small = task.recipe.model_copy(update={"batch_size": said.size, "eval_batch_size": said.size})
        task = task.replace(recipe=small)
        model, share = trained(task, said.seconds, device)
        if isinstance(task, Translation):
            task = task.replace(longest=LONGEST)
        shares += [share, evaluated(task, model, said.seconds, device)]
    print(f"least {min(shares):.3f}, promised {LIMIT}")
    raise SystemExit(min(shares) < LIMIT)


if __name__ == "__main__":
    main()
