"""What sorting by length spares: the share of tokens that are padding, and time to evaluate.

    python benchmarks/padding.py --data-dir DIR --corpus ntrex --text pkg:NAME --protein pkg:NAME

Tokens are counted over all training batches of an epoch and all evaluation batches of the recipe, and over
the same cut in any order: as chance has them, as the file has them. Of a translation both sides count when
training, its source when predicting. Rates are of forward passes over the whole reported split, every
so-manieth of each by turns: the engine's, and what they are compared with, the same net on the same examples
in the recipe's evaluation batches and the file's order. A translation's encoder alone is timed, as untrained
nets know no end. Beside it stands what no padding at all would come to, were each token's time the same:
where lengths are much alike, that is not twice. The engine's passes are also no larger than a CPU is fast
with, which comes on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from real import asked, clock, label, tasks, without_lengths
from torch import Tensor, nn

from smc_eval.engine.batches import Batches, most_tokens, pass_ranges
from smc_eval.engine.device import Device
from smc_eval.recipe import Recipe
from smc_eval.task import Task
from smc_eval.tasks.commonsense.pairs import PairBatch
from smc_eval.tasks.protein.batch import ProteinBatch as Proteins
from smc_eval.tasks.translation.codec import TextBatch as Sentences

PADDING = 0.10
"""Most of all tokens that may be padding, in training as in evaluation."""

FASTER = 2.0
"""What the project promises of evaluation, where a split's lengths allow for it."""


def sides(batch: Any, *, training: bool) -> Iterator[Tensor]:
    """Which tokens are no padding, of each tensor that a net reads."""
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
    """Tokens and padding of some batches."""

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
    """Evaluation batches in an order."""
    passes = pass_ranges([lengths[i] for i in order], size, tokens)
    return [[examples[i] for i in order[one.start : one.stop]] for one in passes]


def rates(task: Task, mine: list[Any], file: list[Any], turns: int) -> float:
    """The rate over all batches in the engine's order, as a multiple of that in the file's."""
    model = task.model().eval()
    read: nn.Module = cast("Any", model).get_encoder() if hasattr(model, "get_encoder") else model
    spent = [0.0, 0.0]
    with torch.no_grad():
        for turn in range(-1, turns):
            for which, batches in enumerate((mine, file)):
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
    """Count and time the three; end with 1 where a promise is broken that lengths allow for."""
    said = asked(__doc__, turns=6)
    device, kept = Device("cpu", threads=said.threads), True
    for task in tasks(said):
        plain = without_lengths(task.recipe)
        before, after = (training(task, recipe, device) for recipe in (plain, task.recipe))
        print(label(task))
        print(f"  training    {after.padding:6.1%} padding; by chance {before.padding:.1%}")
        examples = task.data("test")
        lengths = [task.side_lengths(one)[0] for one in examples]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        size = task.recipe.eval_batch_size
        mine = cut(examples, lengths, order, size, most_tokens(task, task.recipe, device))
        file = cut(examples, lengths, range(len(lengths)), size, None)
        ours, others = (Count(map(task.collate, batches), training=False) for batches in (mine, file))
        at_best, faster = others.all / others.real, rates(task, mine, file, said.turns)
        print(f"  evaluation  {ours.padding:6.1%} padding; in the file's order {others.padding:.1%}")
        print(
            f"  evaluation  {faster:6.2f} times the rate of that order; no padding: {at_best:.2f}", flush=True
        )
        kept &= max(after.padding, ours.padding) <= PADDING and faster >= min(FASTER, 0.9 * at_best)
    print(f"promised: {PADDING:.0%} padding at most, {FASTER:g} times the rate where lengths allow for it")
    raise SystemExit(not kept)


if __name__ == "__main__":
    main()
