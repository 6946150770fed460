"""Predict: one prediction for each example. Examples of similar length share a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from smc_eval.capabilities import side_lengths
from smc_eval.engine.batches import filler_passes, own_passes, padded_tokens, part_size, pass_ranges
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.sparse_maps import SparseMaps
from smc_eval.recipe import Recipe
from smc_eval.task import Task


def token_limit(task: Task, recipe: Recipe, device: Device) -> int | None:
    """Largest number of tokens of a forward pass for predicting; None where there is no limit.

    It is twice the recipe's limit, because no backward pass follows, and at most as many as are
    fast on this device.
    """
    limits = (2 * recipe.tokens if recipe.tokens else None, None if task.generates else device.fast_tokens)
    return min((limit for limit in limits if limit is not None), default=None)


def prediction_recipe(recipe: Recipe, parts: int, *, one_by_one: bool) -> Recipe:
    """A recipe for predicting: with smaller evaluation batches where memory is short, or of one example."""
    size = 1 if one_by_one else part_size(recipe.eval_batch_size, parts)
    return recipe.model_copy(update={"eval_batch_size": size})


def predict(
    task: Task,
    model: torch.nn.Module,
    examples: Sequence[Any],
    recipe: Recipe,
    device: Device,
    meter: FlopMeter | None = None,
    maps: SparseMaps | None = None,
) -> list[Any]:
    """One prediction for each example, in order. The model keeps its training or evaluation mode.

    Examples of similar length share a forward pass, whatever their order. The passes of middle
    length come first, because a meter measures those. Ranks share the passes, and every rank
    returns all predictions. Of a net with masks, linear maps may run sparse.
    """
    training = model.training
    model.eval()
    lengths = [sides[0] for sides in side_lengths(task, examples)]
    order = sorted(range(len(examples)), key=lengths.__getitem__)
    tokens = token_limit(task, recipe, device)
    predicted: dict[int, Any] = {}
    ranges = pass_ranges([lengths[i] for i in order], recipe.eval_batch_size, tokens)
    passes = [order[part.start : part.stop] for part in ranges]
    middle = len(passes) // 2
    passes = passes[middle:] + passes[:middle]
    own = [places for places, _ in own_passes(passes, device.ranks)]
    fillers = list(filler_passes(passes, device.ranks))
    forms = maps.one_prediction() if maps else nullcontext()
    with torch.no_grad(), device.autocast(recipe.precision), device.ranks.errors_shared(), forms:
        for number, places in enumerate([*own, *fillers]):
            batch = device.move(task.collate([examples[i] for i in places]))
            with (
                meter.over(padded_tokens([lengths[i] for i in places])) if meter else nullcontext(),
                maps.predicting(len(own), recipe.precision, meter) if maps else nullcontext(),
            ):
                predictions = task.predict(model, batch)
            if len(predictions) != len(places):
                raise ValueError(
                    f"{task.identity} made {len(predictions)} predictions for {len(places)} examples"
                )
            if number < len(own):
                predicted |= zip(places, predictions, strict=True)
    model.train(training)
    if meter:
        made = (passes, [*own, *fillers])
        counts = [sum(padded_tokens([lengths[i] for i in places]) for places in some) for some in made]
        meter.add_remote_tokens(counts[0] - counts[1])
    gathered = device.ranks.gather(predicted)
    predicted = {place: prediction for part in gathered for place, prediction in part.items()}
    return [predicted[place] for place in range(len(examples))]
