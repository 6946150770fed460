"""Sorting by length: the share of tokens that are padding, and the rate of evaluation.

    python benchmarks/padding.py --data-dir DIR --corpus ntrex --text pkg:NAME --protein pkg:NAME

Tokens are counted over the training batches of an epoch and the evaluation batches of the recipe. They are
compared with batches in random order for training, and in the order of the file for evaluation. For a
translation, both sides count in training, and the source counts in predicting. Rates are those of forward
passes over the whole reported split, in turns. The engine's passes are compared with the recipe's evaluation
batches in the order of the file, with the same net. Only the encoder of a translation is timed, because an
untrained net does not end its texts. The last number is the rate without any padding, if each token took the
same time: it is below 2 where lengths are similar. The engine also limits passes to the size that is fastest
on a CPU, which adds to the rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from real import clock, label, parse_args, tasks, without_lengths
from torch import Tensor, nn

from smc_eval.capabilities import side_lengths
from smc_eval.engine.batches import Batches, pass_ranges
from smc_eval.engine.device import Device
from smc_eval.engine.predict import token_limit
from smc_eval.recipe import Recipe
from smc_eval.task import Task
from smc_eval.tasks.commonsense.pairs import PairBatch
from smc_eval.tasks.protein.batch import ProteinBatch as Proteins
from smc_eval.tasks.translation.codec import TextBatch as Sentences

PADDING = 0.10
"""Target: largest share of padding, in training and in evaluation."""

FASTER = 2.0
"""Target: smallest rate of evaluation as a multiple of the file's order, where lengths allow it."""


def sides(batch: Any, *, training: bool) -> Iterator[Tensor]:
    """A mask of the tokens that are not padding, for each tensor that a net reads."""
    match batch:
        case PairBatch():
            yield batch.real_NCL
        case Proteins():
            yield batch.real_NL
        case Sentences():
            yield batch.real_NS
            if training:
                yield batch.label_NT >= 0
        case _:
            raise TypeError(type(batch).__name__)


class Count:
    """Number of tokens of some batches, with and without padding."""

    def __init__(self, batches: Iterator[Any], *, training: bool) -> None:
        masks = [mask for batch in batches for mask in sides(batch, training=training)]
        self.real = sum(int(mask.sum()) for mask in masks)
        self.all = sum(mask.numel() for mask in masks)

    @property
    def padding(self) -> float:
        """Share of padding."""
        return 1 - self.real / self.all


def training(task: Task, recipe: Recipe, device: Device) -> Count:
    """An epoch of training batches."""
    batches = Batches(task, recipe, "padding", device)
    steps = range(recipe.steps_per_epoch(batches.total))
    return Count((batch for step in steps for batch, _ in batches.step(step)), training=True)


def cut(
    examples: Sequence[Any], lengths: Sequence[int], order: Sequence[int], size: int, tokens: int | None
) -> list[Any]:
    """Evaluation batches in a given order."""
    passes = pass_ranges([lengths[i] for i in order], size, tokens)
    return [[examples[i] for i in order[part.start : part.stop]] for part in passes]


def rates(task: Task, own: list[Any], file: list[Any], turns: int) -> float:
    """The rate in the engine's order, as a multiple of the rate in the file's order."""
    model = task.model().eval()
    read: nn.Module = cast("Any", model).get_encoder() if hasattr(model, "get_encoder") else model
    spent = [0.0, 0.0]
    with torch.no_grad():
        for turn in range(-1, turns):
            for which, batches in enumerate((own, file)):
                began = clock()
                for examples in batches[turn::turns] if turn >= 0 else batches[:1]:  # first to warm up
                    batch = task.collate(examples)
                    if isinstance(batch, Sentences):
                        read(input_ids=batch.source_NS, attention_mask=batch.real_NS.long())
                    else:
                        task.predict(model, batch)
                if turn >= 0:
                    spent[which] += clock() - began
    return spent[1] / spent[0]


def main() -> None:
    """Measure the three tasks; exit with 1 if a target that lengths allow is missed."""
    args = parse_args(__doc__, turns=6)
    device, reached = Device("cpu", threads=args.threads), True
    for task in tasks(args):
        plain = without_lengths(task.recipe)
        before, after = (training(task, recipe, device) for recipe in (plain, task.recipe))
        print(label(task))
        print(f"  training    {after.padding:6.1%} padding; in random order {before.padding:.1%}")
        examples = task.data("test")
        lengths = [sides[0] for sides in side_lengths(task, examples)]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        size = task.recipe.eval_batch_size
        own = cut(examples, lengths, order, size, token_limit(task, task.recipe, device))
        file = cut(examples, lengths, range(len(lengths)), size, None)
        engine, others = (Count(map(task.collate, batches), training=False) for batches in (own, file))
        at_best, faster = others.all / others.real, rates(task, own, file, args.turns)
        print(f"  evaluation  {engine.padding:6.1%} padding; in the file's order {others.padding:.1%}")
        print(
            f"  evaluation  {faster:6.2f} times the rate of that order; no padding: {at_best:.2f}", flush=True
        )
        reached &= max(after.padding, engine.padding) <= PADDING and faster >= min(FASTER, 0.9 * at_best)
    print(f"target: {PADDING:.0%} padding at most, {FASTER:g} times the rate where lengths allow it")
    raise SystemExit(not reached)


if __name__ == "__main__":
    main()
