"""The cost of a criterion: its scoring as a multiple of bare forward and backward passes of as many batches.

    python benchmarks/scoring.py --case snip --repeats 5

Bare passes and scoring alternate in one process, and the ratio is that of their medians. The batches of bare
passes are collated before the clock starts. Scoring draws its own batches, scores weights, and decides masks
at sparsity 0.9. The script exits with 1 if a ratio exceeds its target.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smc_eval.capabilities import excluded
from smc_eval.card import TaskCard
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.methods.grasp import GradientFlow
from smc_eval.methods.snip import Sensitivity
from smc_eval.methods.synflow import SynapticFlow
from smc_eval.pruner import Pruner
from smc_eval.recipe import Recipe
from smc_eval.registry import registry
from smc_eval.score import Score
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.target import Target
from smc_eval.task import Part, Source, Task


class Sentences(Task):
    """Random sentences of 64 tokens in two classes, for an encoder of 22.7 M parameters."""

    card: ClassVar[TaskCard] = TaskCard(
        name="sentences", summary="made up", source="here", metric="none", accepts=("tiny",), published="tiny"
    )
    recipe: Recipe = Recipe(steps=1, batch_size=8)

    def sources(self) -> tuple[Source, ...]:
        """No data is read."""
        return ()

    def data(self, part: Part) -> Sequence[int]:
        """Examples are seeds of sentences."""
        return range(1024)

    def model(self) -> nn.Module:
        """BERT's architecture, 6 layers of 384 features."""
        from transformers import BertConfig, BertForSequenceClassification

        return BertForSequenceClassification(
            BertConfig(
                hidden_size=384,
                num_hidden_layers=6,
                num_attention_heads=12,
                intermediate_size=1536,
                num_labels=2,
            )
        )

    def collate(self, examples: Sequence[int]) -> Any:
        """Token ids and classes."""
        generator = torch.Generator().manual_seed(examples[0])
        return torch.randint(1000, 30000, (len(examples), 64), generator=generator), torch.tensor(
            examples
        ) % 2

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Cross-entropy."""
        return self.loss_and_outputs(model, batch)[0]

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Cross-entropy and log-probabilities."""
        log_NC = model(input_ids=batch[0]).logits.log_softmax(-1)
        return nn.functional.nll_loss(log_NC, batch[1]), log_NC

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        """Never called."""
        raise NotImplementedError

    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        """Never called."""
        raise NotImplementedError


@dataclass(frozen=True)
class Case:
    """A criterion, and its number of batches."""

    by: Callable[[int], Pruner]
    """The criterion over a number of batches."""
    target: float | None = None
    """Largest ratio; None has no target."""
    most: int | None = None
    """Largest number of batches that it uses."""


CASES = {
    "snip": Case(lambda batches: Sensitivity(batches=batches), target=1.2),
    "grasp": Case(lambda batches: GradientFlow(batches=batches)),
    "synflow": Case(lambda _: SynapticFlow(batches=1), most=1),  # one of its rounds
}

TASKS: dict[str, Callable[[], Task]] = {
    "encoder 6x384": Sentences,
    "mawps/gts": lambda: registry().tasks["mawps/gts"](backbone="scratch", fold=0),
}


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bare(task: Task, model: nn.Module, batches: Sequence[Any]) -> None:
    """A forward and a backward pass over each batch, in training mode; gradients add up."""
    model.train()
    model.zero_grad(set_to_none=True)
    for batch in batches:
        (task.loss(model, batch) / len(batches)).backward()  # type: ignore[no-untyped-call]


def compared(case: Case, task: Task, count: int, repeats: int) -> tuple[float, float]:
    """Median seconds of the bare passes and of scoring."""
    device = Device("auto")
    device.seed("scoring")
    count = case.most or count
    model = task.model().to(device.torch_device)
    batches = Batches(task, task.recipe, "start", device)
    drawn = list(batches.sample(count, "name"))
    probe = NetProbe(
        Net(model, in_scope(model, "body", excluded(task, model))), batches, "name", Usage(), device
    )
    kinds = (
        partial(bare, task, model, drawn),
        partial(case.by(count).prune, probe, Target(sparsity=0.9)),
    )
    for work in kinds:  # the first call also starts threads and allocates buffers
        work()
    times = [[seconds(work) for work in kinds] for _ in range(repeats)]
    return median(first for first, _ in times), median(second for _, second in times)


def main() -> None:
    """Print a line for each case and task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", choices=CASES, help="one case; default: all")
    parser.add_argument("--batches", type=int, default=16, help="training batches that are scored")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each kind")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    missed = False
    for name in [args.case] if args.case else CASES:
        for title, task in TASKS.items():
            plain, scoring = compared(CASES[name], task(), args.batches, args.repeats)
            target = CASES[name].target
            missed |= target is not None and scoring > target * plain
            words = f"; target {target}" if target else ""
            print(f"{name:<8} {title:<14} {scoring:.3f} s, bare {plain:.3f} s: {scoring / plain:.2f}x{words}")
    sys.exit(missed)


if __name__ == "__main__":
    main()
