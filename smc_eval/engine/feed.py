"""The feed: which examples stand in which batch, as a function of the start digest alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from smc_eval.engine.world import World
from smc_eval.recipe import Recipe
from smc_eval.spec import digest
from smc_eval.task import Task


class Feed:
    """Training batches and the examples that select among epochs.

    The order of batches depends on task, seed, fold and epoch, and on nothing a method does.
    """

    def __init__(self, task: Task, recipe: Recipe, start: str, world: World) -> None:
        self.task, self.recipe, self.start, self.world = task, recipe, start, world
        examples = task.data("train")
        self.total = len(examples)
        held = recipe.held_out(self.total)
        order = self._order("held out", self.total) if held else list(range(self.total))
        self.examples = [examples[i] for i in sorted(order[held:])]
        self.held: Sequence[Any] = [examples[i] for i in sorted(order[:held])]
        """Held out of training to select the best epoch; empty unless the recipe says so."""

    def step(self, step: int) -> Iterator[tuple[Any, float]]:
        """The batches of one optimizer step, each with its share of the step's examples."""
        epoch, place = divmod(step, self.recipe.steps_per_epoch(self.total))
        size = self.recipe.batch_size * self.recipe.accumulation
        chosen = self._epoch(f"epoch {epoch}")[place * size : (place + 1) * size]
        for first in range(0, len(chosen), self.recipe.batch_size):
            part = chosen[first : first + self.recipe.batch_size]
            yield self._batch(part), len(part) / len(chosen)

    def sample(self, batches: int, name: str, size: int | None = None) -> Iterator[Any]:
        """So many training batches in an order of its own; more than an epoch begins another."""
        size, round_ = size or self.recipe.batch_size, 0
        while batches > 0:
            order = self._order(f"{name} {round_}", len(self.examples))
            for first in range(0, len(order), size):
                if batches == 0:
                    return
                yield self._batch(order[first : first + size])
                batches -= 1
            round_ += 1

    def _epoch(self, name: str) -> list[int]:
        """The order of an epoch; the last asked is kept, as every step asks."""
        if getattr(self, "_last", ("", []))[0] != name:
            self._last = (name, self._order(name, len(self.examples)))
        return self._last[1]

    def _order(self, name: str, count: int) -> list[int]:
        chance = self.world.generator(digest(self.start, "order", name))
        order: list[int] = torch.randperm(count, generator=chance).tolist()
        return order

    def _batch(self, chosen: Sequence[int]) -> Any:
        return self.world.move(self.task.collate([self.examples[i] for i in chosen]))


def predict(
    task: Task, model: torch.nn.Module, examples: Sequence[Any], recipe: Recipe, world: World
) -> list[Any]:
    """One prediction for each example, in order; the model is left in the mode it was in."""
    training, size = model.training, recipe.eval_batch_size
    model.eval()
    predicted: list[Any] = []
    with torch.no_grad(), world.autocast(recipe.precision):
        for first in range(0, len(examples), size):
            part = examples[first : first + size]
            answers = task.predict(model, world.move(task.collate(part)))
            if len(answers) != len(part):
                raise ValueError(f"{task.kind()} predicted {len(answers)} answers for {len(part)} examples")
            predicted += answers
    model.train(training)
    return predicted
