"""Batches: which examples share a forward pass. Their order depends on the start digest alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from smc_eval.capabilities import classes_of, excerpt, loss_terms, side_lengths
from smc_eval.engine.device import Device, tensor_shapes
from smc_eval.engine.distributed.ranks import Ranks
from smc_eval.errors import DataError
from smc_eval.recipe import Recipe
from smc_eval.spec import digest
from smc_eval.task import Task

EXCERPT = 32
"""Tokens of an excerpt: paths and flow need double precision, and many numbers for each token."""

BANDS_PER_DOUBLING = 8
"""Bands of similar length between a length and twice that length, where examples have two sides."""


class Batches:
    """Training batches, and the validation examples that select an epoch.

    The order of batches depends on task, seed, fold and epoch, and not on the method.
    Where memory is short, each forward pass is cut into `parts`. The same examples make each
    optimizer step, as if the recipe had a smaller batch size and more accumulation. The same holds
    where ranks share the passes.
    """

    def __init__(self, task: Task, recipe: Recipe, start: str, device: Device, parts: int = 1) -> None:
        self.task, self.recipe, self.start, self.device, self.parts = task, recipe, start, device, parts
        examples = task.data("train")
        self.total = len(examples)
        count = recipe.held_out(self.total)
        order = self._order("held out", self.total) if count else list(range(self.total))
        self.examples = [examples[i] for i in sorted(order[count:])]
        if not self.examples:  # a batch would be looked for without end
            raise DataError(f"task {task.label!r} has no training examples; check its data and its options")
        self.one_by_one = False
        """Whether examples are predicted one by one, because the net has a batch effect."""
        self.data_digest = ""
        """That of the task's data, once the engine knows it."""
        self.validation: Sequence[Any] = [examples[i] for i in sorted(order[:count])]
        """Held out of training to select the best epoch; empty unless the recipe asks for it."""
        sides = side_lengths(task, self.examples)
        self.lengths, self.keys = [max(pair) for pair in sides], [length_key(pair) for pair in sides]
        self._last_epoch: tuple[int, list[int]] = (-1, [])

    def step(self, step: int) -> Passes:
        """The forward passes of one optimizer step."""
        places, tokens = self._step_places(step), self.recipe.tokens
        ranges = pass_ranges([self.lengths[i] for i in places], self.recipe.batch_size, tokens)
        return Passes.of(self, [places[part.start : part.stop] for part in ranges], tokens)

    def sample(self, batches: int, name: str, size: int | None = None) -> Iterator[Any]:
        """A number of training batches, in an order of their own; after an epoch another one begins."""
        return (self.batch(places) for places in self._sampled_places(batches, name, size))

    @property
    def in_a_pass(self) -> int:
        """Number of batches that `sample` makes of all examples."""
        return math.ceil(len(self.examples) / self.recipe.batch_size)

    def sample_excerpts(self, batches: int, name: str, size: int | None = None) -> Iterator[Any]:
        """The batches of `sample`, of at most `EXCERPT` tokens an example where the task can cut it."""
        for places in self._sampled_places(batches, name, size):
            examples = [excerpt(self.task, self.examples[place], EXCERPT) for place in places]
            yield self.device.move(self.task.collate(examples))

    def sample_unpadded(self, batches: int, name: str) -> list[list[int]]:
        """The places of the same examples in other batches, in which no example pads another.

        Examples share a batch if each alone makes tensors of the same shapes.
        """
        alike: dict[Any, list[int]] = {}
        for place in chain.from_iterable(self._sampled_places(batches, name, None)):
            alone = self.task.collate([self.examples[place]])
            alike.setdefault(tensor_shapes(alone), []).append(place)
        size, tokens = (n and part_size(n, self.parts) for n in (self.recipe.batch_size, self.recipe.tokens))
        return [
            places[part.start : part.stop]
            for places in alike.values()
            for part in pass_ranges([self.lengths[i] for i in places], size or 1, tokens)
        ]

    def tokens(self, places: Sequence[int]) -> int:
        """Tokens of a batch of these examples, padding included."""
        return padded_tokens([self.lengths[i] for i in places])

    def sample_passes(
        self, batches: int, name: str, size: int | None = None, *, whole: bool = False
    ) -> Iterator[Passes]:
        """The same batches as forward passes. With `whole`, each batch is one pass."""
        for places in self._sampled_places(batches, name, size):
            yield Passes(self, [places], [1.0]) if whole else Passes.of(self, [places])

    def sample_classes(self, each: int, name: str, *, whole: bool = False) -> list[Passes] | None:
        """Batches with `each` examples of each class, or all of a class that has fewer.

        The last batch may be smaller. None if the examples of the task have no classes.
        """
        classes = classes_of(self.task, self.examples)
        if classes is None:
            return None
        drawn, counts = list[int](), Counter[Hashable]()
        for place in self._order(f"{name} classes", len(self.examples)):
            counts[classes[place]] += 1
            if counts[classes[place]] <= each:
                drawn.append(place)
        size = self.recipe.batch_size
        parts = [drawn[first : first + size] for first in range(0, len(drawn), size)]
        return [Passes(self, [part], [1.0]) if whole else Passes.of(self, [part]) for part in parts]

    def batch(self, places: Sequence[int]) -> Any:
        """The examples at these places, as a batch on the device."""
        return self.device.move(self.task.collate([self.examples[i] for i in places]))

    def loss_share(self, part: Sequence[int], whole: Sequence[int]) -> float:
        """Share of a part in the mean loss of the whole batch."""
        if len(part) == len(whole):
            return 1.0
        counts = [loss_terms(self.task, [self.examples[i] for i in places]) for places in (part, whole)]
        return counts[0] / counts[1]

    def _sampled_places(self, batches: int, name: str, size: int | None) -> Iterator[list[int]]:
        size, round_ = size or self.recipe.batch_size, 0
        while batches > 0:
            order = self._order(f"{name} {round_}", len(self.examples))
            for first in range(0, len(order), size):
                if batches == 0:
                    return
                yield order[first : first + size]
                batches -= 1
            round_ += 1

    def _step_places(self, step: int) -> list[int]:
        """The examples of one optimizer step."""
        epoch, place = divmod(step, self.recipe.steps_per_epoch(self.total))
        size = self._step_size
        places = self._epoch_order(epoch)[place * size : (place + 1) * size]
        if self.recipe.tokens is None:
            return places
        return sorted(places, key=self.keys.__getitem__)  # the sum of a step's gradients has no order

    @property
    def _step_size(self) -> int:
        """Examples of an optimizer step."""
        return self.recipe.batch_size * self.recipe.accumulation

    def _epoch_order(self, epoch: int) -> list[int]:
        """The order of an epoch. The last one is cached, because every step asks for it."""
        if self._last_epoch[0] != epoch:
            order = self._order(f"epoch {epoch}", len(self.examples))
            if self.recipe.bucket > 1:
                order = self._bucketed(order, f"buckets {epoch}")
            self._last_epoch = epoch, order
        return self._last_epoch[1]

    def _bucketed(self, order: Sequence[int], name: str) -> list[int]:
        """The same examples, similar lengths next to each other. The order of batches is random.

        Only the last batch may be smaller, and it stays the last.
        """
        size, pool = self._step_size, self._step_size * self.recipe.bucket
        pools = [sorted(order[i : i + pool], key=self.keys.__getitem__) for i in range(0, len(order), pool)]
        batches = [places[i : i + size] for places in pools for i in range(0, len(places), size)]
        full, rest = (batches, []) if len(order) % size == 0 else (batches[:-1], batches[-1])
        return [i for place in self._order(name, len(full)) for i in full[place]] + rest

    def _order(self, name: str, count: int) -> list[int]:
        generator = self.device.generator(digest(self.start, "order", name))
        order: list[int] = torch.randperm(count, generator=generator).tolist()
        return order


@dataclass(frozen=True)
class Passes:
    """The forward passes over some examples, shared among the ranks.

    Iterating gives the batches of this rank, each with its share of the total loss.
    """

    batches: Batches
    parts: Sequence[Sequence[int]]
    """Places of the examples of each pass, as a single rank makes it."""
    shares: Sequence[float]
    """Share of each pass in the loss."""

    @classmethod
    def of(cls, batches: Batches, whole: Sequence[Sequence[int]], tokens: int | None = None) -> Passes:
        """The passes of a recipe, each cut further where memory is short; `tokens` is their limit.

        A pass counts by its number of examples. A part of a pass counts by its terms in the mean loss.
        """
        examples, parts, shares = sum(map(len, whole)), list[Sequence[int]](), list[float]()
        for places in whole:
            lengths, size = [batches.lengths[i] for i in places], part_size(len(places), batches.parts)
            for part in pass_ranges(lengths, size, tokens and part_size(tokens, batches.parts)):
                parts.append(places[part.start : part.stop])
                shares.append(len(places) / examples * batches.loss_share(parts[-1], places))
        return cls(batches, parts, shares)

    def __iter__(self) -> Iterator[tuple[Any, float]]:
        batches, ranks = self.batches, self.batches.device.ranks
        for own, number in own_passes(self.parts, ranks):
            yield batches.batch(own), self.shares[number] * batches.loss_share(own, self.parts[number])
        for filler in filler_passes(self.parts, ranks):
            yield batches.batch(filler), 0.0

    @property
    def examples(self) -> int:
        """Number of examples of all passes."""
        return sum(map(len, self.parts))

    @property
    def count(self) -> int:
        """Number of passes that a single rank makes."""
        return len(self.parts)

    @property
    def tokens(self) -> int:
        """Tokens of all passes as a single rank makes them, padding included."""
        return self._tokens(self.parts)

    @property
    def own_tokens(self) -> int:
        """Tokens of this rank's passes, padding included."""
        ranks = self.batches.device.ranks
        own = [places for places, _ in own_passes(self.parts, ranks)]
        return self._tokens([*own, *filler_passes(self.parts, ranks)])

    def _tokens(self, parts: Sequence[Sequence[int]]) -> int:
        return sum(self.batches.tokens(part) for part in parts)


def own_passes(parts: Sequence[Sequence[int]], ranks: Ranks) -> Iterator[tuple[Sequence[int], int]]:
    """The passes of one rank, each with its number.

    Whole passes are dealt round-robin while there is one for every rank. The examples of each leftover
    pass are dealt round-robin too, so that the ranks' parts have similar lengths.
    """
    whole = len(parts) - len(parts) % ranks.size
    for number, part in enumerate(parts):
        if number >= whole and (own := part[ranks.rank :: ranks.size]):
            yield own, number
        elif number < whole and number % ranks.size == ranks.rank:
            yield part, number


def filler_passes(parts: Sequence[Sequence[int]], ranks: Ranks) -> Iterator[Sequence[int]]:
    """Extra passes of a rank that has no part of a leftover pass: the first example, with weight 0.

    All ranks of a sharded net must make the same number of passes.
    """
    if ranks.shard_nets:
        for part in parts[len(parts) - len(parts) % ranks.size :]:
            if not part[ranks.rank :: ranks.size]:
                yield part[:1]


def length_key(sides: Sequence[int]) -> tuple[int, ...]:
    """A sort key that puts examples next to each other that pad each other little.

    Examples with one side are sorted by length. Examples with two sides, each padded separately, are
    sorted by the band of the longer side, then by how much longer the first side is. Every second
    band is sorted backwards, so that examples are similar where two bands meet.
    """
    if len(sides) == 1:
        return (sides[0],)
    band = round(BANDS_PER_DOUBLING * math.log2(max(sides)))
    return band, (sides[0] - sides[1]) * (-1) ** band


def pass_ranges(lengths: Sequence[int], size: int, tokens: int | None) -> Iterator[range]:
    """Places of the examples of each forward pass, in order.

    A pass has at most `size` examples and at most `tokens` tokens, padding included. An example
    longer than the limit has a pass of its own.
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
    """Tokens of a batch of examples of these lengths, padding included."""
    return len(lengths) * max(lengths)


def part_size(size: int, parts: int) -> int:
    """Size of the largest part if `size` is cut into so many parts."""
    return -(-size // parts)
