"""The cost of masks: a masked training step against a dense step of the same net on the same batch.

    python benchmarks/step.py --pairs 40

One run of the real training loop, whose net has its masks in turns: dense, masked, masked, dense, and so on.
The result is the median ratio of neighbouring steps, so that other programs matter little. On one thread,
process time is measured.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smc_eval.card import TaskCard
from smc_eval.engine.cell_run import CellOptions, CellRun
from smc_eval.engine.device import Device
from smc_eval.engine.progress import Silent
from smc_eval.experiment.cell import Cell, chain
from smc_eval.methods.dense import Dense
from smc_eval.protocol import SOUND
from smc_eval.recipe import Recipe
from smc_eval.score import Score, accuracy
from smc_eval.sparse.allocate import allocate
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.task import Part, Source, Task
from smc_eval.tasks.arithmetic.datasets import MawpsGts

LIMIT = 1.03
"""Target: largest ratio of a masked step to a dense step."""


def clock() -> float:
    """Process time on one thread, else wall-clock time."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Encoder(Task):
    """A BERT of 6 × 384, fine-tuned on random tokens: 16 rows of 32."""

    card: ClassVar[TaskCard] = TaskCard(
        name="encoder/6x384", summary="random tokens", source="smc-eval", metric="none",
        accepts=("tiny",), published="tiny",
    )  # fmt: skip
    recipe: Recipe = Recipe(steps=1, batch_size=16, lr=5e-5, weight_decay=0.01, clip=1.0)

    def sources(self) -> tuple[Source, ...]:
        return ()

    def data(self, part: Part) -> Sequence[Tensor]:
        return list(torch.randint(1000, 30000, (self.recipe.batch_size, 32)))

    def model(self) -> nn.Module:
        from transformers import BertConfig, BertModel

        config = BertConfig(
            hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
        return BertModel(config, add_pooling_layer=False)

    def collate(self, examples: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(examples))

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(batch).last_hidden_state[:, 0], batch[:, 1] % 384)

    def predict(self, model: nn.Module, batch: Tensor) -> list[int]:
        return [0] * len(batch)

    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        return accuracy([False] * len(examples), "none", "none")


class MaskSwitch(Silent):
    """Times every step, and sets or clears the masks before the next: off, on, on, off, and again."""

    def __init__(self) -> None:
        self.times: dict[bool, list[float]] = {False: [], True: []}

    def train(self, cell_run: CellRun, sparsity: float) -> None:
        """Run a cell, with magnitude masks of that sparsity."""
        self.cell_run, self.sparsity = cell_run, sparsity
        cell_run.run()

    def stage(self, label: str, steps: int, done: int) -> None:
        if label.startswith("train"):
            net = self.cell_run.net
            sizes = {name: weight.abs() for name, weight in net.weights.items()}
            self.masks = allocate(sizes, Target(sparsity=self.sparsity))
            self.since = clock()

    def step(self, done: int, loss: float | None) -> None:
        net = self.cell_run.net
        self.times[bool(net.masks)].append(clock() - self.since)
        net.masks = self.masks if done % 4 in {1, 2} else {}
        self.since = clock()


def measured(task: Task, sparsity: float, pairs: int) -> float:
    """Print the times of a task; returns the median ratio of its pairs, without the first."""
    size = task.recipe.batch_size
    recipe = task.recipe.model_copy(update={"steps": 2 * pairs + 2, "epochs": None})
    task = task.replace(recipe=recipe, limit=size)  # every batch is the same
    cell = Cell(task=task, method=Dense(), target=Target(), protocol=SOUND)
    times = MaskSwitch()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.open()
        links, options = chain(cell, task.sources(), size), CellOptions(checkpoint_seconds=math.inf)
        times.train(CellRun(links, store, Device("cpu"), times, options), sparsity)
    weights = sum(mask.numel() for mask in times.masks.values())
    held = sum(mask.untyped_storage().nbytes() for mask in times.masks.values())
    dense, masked = (times.times[kind][1:] for kind in (False, True))
    ratio = median(b / a for a, b in zip(dense, masked, strict=True))
    print(f"{task.card.name}: {weights:,} weights in scope, {held / weights:g} bytes of mask each")
    print(
        f"  dense {median(dense):.4f} s, masked {median(masked):.4f} s a step; median of {pairs} ratios "
        f"{ratio:.3f}, target {LIMIT}"
    )
    return ratio


def main() -> None:
    """Measure both nets; exit with 1 if a ratio exceeds the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", default="synthetic", help="data in the official layout")
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--pairs", type=int, default=40, help="pairs of steps")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.threads} threads, torch {torch.__version__}, sparsity {args.sparsity:g}")
    tasks = (MawpsGts(backbone="scratch", folder=args.data_dir, fold=0), Encoder())
    ratios = [measured(task, args.sparsity, args.pairs) for task in tasks]
    raise SystemExit(max(ratios) > LIMIT)


if __name__ == "__main__":
    main()
