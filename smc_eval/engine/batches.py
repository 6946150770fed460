"""The feed: which examples stand in which batch, as a function of the start digest alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from smc_eval.capabilities import loss_terms, side_lengths
from smc_eval.engine.device import Device
from smc_eval.engine.distributed.ranks import Ranks
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.recipe import Recipe
from smc_eval.spec import digest
from smc_eval.task import Task

STRIPS = 8
"""How many strips of alike length there are up to twice a length, where examples have two sides."""


class Batches:
    """Training batches and the examples that select among epochs.

    The order of batches depends on task, seed, fold and epoch, and on nothing a method does.
    Where memory is short, each forward pass is made in so many parts, as if the recipe had halved its
    batches and doubled its accumulation: the same examples make each optimizer step. So they do where
    ranks share it out.
    """

    def __init__(self, task: Task, recipe: Recipe, start: str, device: Device, parts: int = 1) -> None:
        self.task, self.recipe, self.start, self.device, self.parts = task, recipe, start, device, parts
        examples = task.data("train")
        self.total = len(examples)
        held = recipe.held_out(self.total)
        order = self._order("held out", self.total) if held else list(range(self.total))
        self.examples = [examples[i] for i in sorted(order[held:])]
        self.held: Sequence[Any] = [examples[i] for i in sorted(order[:held])]
        """Held out of training to select the best epoch; empty unless the recipe says so."""
        sides = side_lengths(task, self.examples)
        self.lengths, self.keys = [max(one) for one in sides], [length_key(one) for one in sides]
        self._drawn: tuple[int, list[int]] = (-1, [])

    def step(self, step: int) -> Passes:
        """The forward passes of one optimizer step."""
        chosen, tokens = self._chosen(step), self.recipe.tokens
        cut = pass_ranges([self.lengths[i] for i in chosen], self.recipe.batch_size, tokens)
        return Passes.of(self, [chosen[part.start : part.stop] for part in cut], tokens)

    def sample(self, batches: int, name: str, size: int | None = None) -> Iterator[Any]:
        """So many training batches in an order of its own; more than an epoch begins another."""
        return (self.batch(chosen) for chosen in self._sampled(batches, name, size))

    def dealt(self, batches: int, name: str) -> Iterator[Any]:
        """Of the same batches those that this rank takes: whole ones, so that none is padded otherwise."""
        ranks = self.device.ranks
        return (self.batch(one) for one in list(self._sampled(batches, name, None))[ranks.rank :: ranks.size])

    def shared(
        self, batches: int, name: str, size: int | None = None, *, whole: bool = False
    ) -> Iterator[Passes]:
        """The same batches as the forward passes each is made of; one each, if they are to stay `whole`."""
        for chosen in self._sampled(batches, name, size):
            yield Passes(self, [chosen], [1.0]) if whole else Passes.of(self, [chosen])

    def batch(self, chosen: Sequence[int]) -> Any:
        """The examples at these places, on the device."""
        return self.device.move(self.task.collate([self.examples[i] for i in chosen]))

    def weight(self, part: Sequence[int], whole: Sequence[int]) -> float:
        """Share that a part of a batch has of the terms of its mean loss."""
        if len(part) == len(whole):
            return 1.0
        counts = [loss_terms(self.task, [self.examples[i] for i in some]) for some in (part, whole)]
        return counts[0] / counts[1]

    def _sampled(self, batches: int, name: str, size: int | None) -> Iterator[list[int]]:
        size, round_ = size or self.recipe.batch_size, 0
        while batches > 0:
            order = self._order(f"{name} {round_}", len(self.examples))
            for first in range(0, len(order), size):
                if batches == 0:
                    return
                yield order[first : first + size]
                batches -= 1
            round_ += 1

    def _chosen(self, step: int) -> list[int]:
        """The examples of one optimizer step."""
        epoch, place = divmod(step, self.recipe.steps_per_epoch(self.total))
        size = self._step_size
        chosen = self._epoch(epoch)[place * size : (place + 1) * size]
        if self.recipe.tokens is None:
            return chosen
        return sorted(chosen, key=self.keys.__getitem__)  # the step adds up the same in any order

    @property
    def _step_size(self) -> int:
        """Examples of an optimizer step."""
        return self.recipe.batch_size * self.recipe.accumulation

    def _epoch(self, epoch: int) -> list[int]:
        """The order of an epoch; the last asked is kept, as every step asks."""
        if self._drawn[0] != epoch:
            order = self._order(f"epoch {epoch}", len(self.examples))
            if self.recipe.bucket > 1:
                order = self._bucketed(order, f"buckets {epoch}")
            self._drawn = epoch, order
        return self._drawn[1]

    def _bucketed(self, order: Sequence[int], name: str) -> list[int]:
        """The same examples, alike lengths side by side; the batches they make stand in any order.

        Only the last batch may be smaller, and stays the last.
        """
        size, pool = self._step_size, self._step_size * self.recipe.bucket
        pools = [sorted(order[i : i + pool], key=self.keys.__getitem__) for i in range(0, len(order), pool)]
        batches = [one[i : i + size] for one in pools for i in range(0, len(one), size)]
        whole, rest = (batches, []) if len(order) % size == 0 else (batches[:-1], batches[-1])
        return [i for place in self._order(name, len(whole)) for i in whole[place]] + rest

    def _order(self, name: str, count: int) -> list[int]:
        chance = self.device.generator(digest(self.start, "order", name))
        order: list[int] = torch.randperm(count, generator=chance).tolist()
        return order


@dataclass(frozen=True)
class Passes:
    """The forward passes over some examples, which ranks share out among them.

    Iterating makes those of this rank, each with its share of the loss of all.
    """

    batches: Batches
    parts: Sequence[Sequence[int]]
    """Places of each pass' examples, as one rank alone makes it."""
    shares: Sequence[float]
    """Of the loss, by pass."""

    @classmethod
    def of(cls, feed: Batches, whole: Sequence[Sequence[int]], tokens: int | None = None) -> Passes:
        """The passes of a recipe, each cut further where memory is short; `tokens` is their limit.

        A pass counts by its examples, and a part of it by its terms in the pass' mean.
        """
        examples, cut, shares = sum(map(len, whole)), list[Sequence[int]](), list[float]()
        for one in whole:
            lengths, size = [feed.lengths[i] for i in one], part_size(len(one), feed.parts)
            for part in pass_ranges(lengths, size, tokens and part_size(tokens, feed.parts)):
                cut.append(one[part.start : part.stop])
                shares.append(len(one) / examples * feed.weight(cut[-1], one))
        return cls(feed, cut, shares)

    def __iter__(self) -> Iterator[tuple[Any, float]]:
        for own, number in own_passes(self.parts, self.batches.device.ranks):
            yield self.batches.batch(own), self.shares[number] * self.batches.weight(own, self.parts[number])
        for along in accompanying_passes(self.parts, self.batches.device.ranks):
            yield self.batches.batch(along), 0.0

    @property
    def count(self) -> int:
        """How many passes one rank alone makes."""
        return len(self.parts)

    @property
    def tokens(self) -> int:
        """Tokens of all passes as one rank alone makes them, padding included."""
        return self._tokens(self.parts)

    @property
    def own(self) -> int:
        """Tokens of this rank's passes."""
        ranks = self.batches.device.ranks
        return self._tokens(
            [*(own for own, _ in own_passes(self.parts, ranks)), *accompanying_passes(self.parts, ranks)]
        )

    def _tokens(self, parts: Sequence[Sequence[int]]) -> int:
        return sum(padded_tokens([self.batches.lengths[i] for i in part]) for part in parts)


def own_passes(parts: Sequence[Sequence[int]], ranks: Ranks) -> Iterator[tuple[Sequence[int], int]]:
    """A rank's part of each forward pass that it has one of, and that pass' number: all of it, as long as
    there are passes for all ranks; of those left over every so-manieth example, so that lengths are alike.
    """
    whole = len(parts) - len(parts) % ranks.size
    for number, part in enumerate(parts):
        if number >= whole and (own := part[ranks.rank :: ranks.size]):
            yield own, number
        elif number < whole and number % ranks.size == ranks.rank:
            yield part, number


def accompanying_passes(parts: Sequence[Sequence[int]], ranks: Ranks) -> Iterator[Sequence[int]]:
    """Of each pass that a rank has nothing of, its first example: where a net is sharded all ranks make
    the same number of passes, and this one goes along without a vote."""
    if ranks.sharded:
        for part in parts[len(parts) - len(parts) % ranks.size :]:
            if not part[ranks.rank :: ranks.size]:
                yield part[:1]


def length_key(sides: Sequence[int]) -> tuple[int, ...]:
    """A key that puts examples side by side which pad each other little.

    With two sides, each padded to its own longest: the strip of their longer side, and within the
    strip by how much the first is longer. Strips are run through to and fro, so that examples are
    alike too where one ends and the next begins.
    """
    if len(sides) == 1:
        return (sides[0],)
    strip = round(STRIPS * math.log2(max(sides)))
    return strip, (sides[0] - sides[1]) * (-1) ** strip


def pass_ranges(lengths: Sequence[int], size: int, tokens: int | None) -> Iterator[range]:
    """Places of the examples of each forward pass, in their order: at most `size` of them, and at most
    so many tokens, padding counted. One that is longer than the limit goes alone.
    """
    first, longest = 0, 0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        count = place - first + 1
        if count > size or (tokens is not None and count > 1 and longest * count > tokens):
            yield range(first, place)
            first, longest = place, length
    if first < len(lengths):
        yield range(first, len(lengths))


def padded_tokens(lengths: Sequence[int]) -> int:
    """Tokens of a batch of examples of these lengths."""
    return len(lengths) * max(lengths)


def most_tokens(task: Task, recipe: Recipe, device: Device) -> int | None:
    """Tokens of a forward pass at most when predicting: twice the recipe's, as nothing is kept for a
    backward pass, and no more than are fast here."""
    limits = (2 * recipe.tokens if recipe.tokens else None, None if task.generates else device.cached)
    return min((limit for limit in limits if limit is not None), default=None)


def part_size(size: int, parts: int) -> int:
    """A size cut into so many parts: what the largest has."""
    return -(-size // parts)


def smaller_recipe(recipe: Recipe, parts: int) -> Recipe:
    """A recipe to predict with where memory is short."""
    if parts == 1:
        return recipe
    return recipe.model_copy(update={"eval_batch_size": part_size(recipe.eval_batch_size, parts)})


def predict(
    task: Task,
    model: torch.nn.Module,
    examples: Sequence[Any],
    recipe: Recipe,
    device: Device,
    meter: FlopMeter | None = None,
) -> list[Any]:
    """One prediction for each example, in order; the model is left in the mode it was in.

    Examples of alike length share a forward pass, whatever their order. The first passes are those of
    middling length, which a meter looks at. Ranks share the passes out, and each has all predictions.
    """
    training = model.training
    model.eval()
    lengths = [sides[0] for sides in side_lengths(task, examples)]
    order = sorted(range(len(examples)), key=lengths.__getitem__)
    tokens = most_tokens(task, recipe, device)
    predicted: dict[int, Any] = {}
    cut = pass_ranges([lengths[i] for i in order], recipe.eval_batch_size, tokens)
    passes = [order[part.start : part.stop] for part in cut]
    middle = len(passes) // 2
    passes = passes[middle:] + passes[:middle]
    own = [places for places, _ in own_passes(passes, device.ranks)]
    along = list(accompanying_passes(passes, device.ranks))
    with torch.no_grad(), device.autocast(recipe.precision), device.ranks.together():
        for number, places in enumerate([*own, *along]):
            batch = device.move(task.collate([examples[i] for i in places]))
            with meter.over(padded_tokens([lengths[i] for i in places])) if meter else nullcontext():
                answers = task.predict(model, batch)
            if len(answers) != len(places):
                raise ValueError(
                    f"{task.identity} predicted {len(answers)} answers for {len(places)} examples"
                )
            if number < len(own):
                predicted |= zip(places, answers, strict=True)
    model.train(training)
    if meter:
        made = (passes, [*own, *along])
        tokens_of = [sum(padded_tokens([lengths[i] for i in places]) for places in some) for some in made]
        meter.elsewhere(tokens_of[0] - tokens_of[1])
    predicted = {place: answer for part in device.ranks.gather(predicted) for place, answer in part.items()}
    return [predicted[place] for place in range(len(examples))]
