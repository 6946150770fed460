"""Selection of an epoch: the net of the best one is kept, and the scores of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.predict import predict, prediction_recipe
from smc_eval.engine.sparse_maps import SparseMaps
from smc_eval.engine.usage import Usage
from smc_eval.experiment.checked_score import checked_score
from smc_eval.experiment.data_facts import full_score
from smc_eval.score import Score
from smc_eval.sparse.net import Net


@dataclass
class Best:
    """The best epoch so far: its score and, on the CPU, its weights and masks."""

    value: float = -math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)


class EpochSelection:
    """Compares the epochs of one training."""

    def __init__(self, net: Net, batches: Batches, device: Device, maps: SparseMaps | None) -> None:
        self.net, self.batches, self.device, self.maps = net, batches, device, maps
        self.best = Best()
        self.meter = FlopMeter(net)

    def compare(self, step: int, usage: Usage) -> None:
        """Predict the validation examples, and keep the net if no epoch was better.

        A net is also kept if it is sparser than the best one so far: only nets at the final sparsity
        of the stage are compared.
        """
        score = self._score()
        remaining, before = (
            sum(self.net.shards.count(m.values())) for m in (self.net.masks, self.best.masks)
        )
        usage.selections += 1
        usage.epochs.append(
            {
                "step": step,
                "score": score.value,
                "remaining": self.net.remaining_count,
                "also": dict(score.also),
            }
        )
        value = score.value if score.higher_is_better else -score.value
        sparser = remaining < before or (self.net.masks and not self.best.masks)
        if value > self.best.value or sparser:
            weights = {name: tensor.cpu().clone() for name, tensor in self.net.state.items()}
            masks = {name: mask.cpu().clone() for name, mask in self.net.masks.items()}
            self.best = Best(value, step, weights, masks)

    def load_best(self) -> int:
        """Load the best epoch's net; returns its step, or 0 if no epoch was compared."""
        if self.best.weights:
            device = self.device.torch_device
            self.net.masks = {name: mask.to(device) for name, mask in self.best.masks.items()}
            self.net.load_shards(self.best.weights)
        return self.best.step

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the best epoch."""
        gathered, best = self.net.gathered, self.best
        return vars(best) | {"weights": gathered(best.weights), "masks": gathered(best.masks)}

    def restore(self, saved: dict[str, Any]) -> None:
        """Continue from a `state`."""
        sharded = self.net.sharded
        self.best = Best(**saved | {"weights": sharded(saved["weights"]), "masks": sharded(saved["masks"])})

    def _score(self) -> Score:
        """The score on held-out examples, or on the reported split with all that a record has of it."""
        batches, task = self.batches, self.batches.task
        examples: Sequence[Any] = batches.validation or task.data("test")
        recipe = prediction_recipe(batches.recipe, batches.parts, one_by_one=batches.one_by_one)
        with self.net.masked():
            predicted = predict(task, self.net.model, examples, recipe, self.device, self.meter, self.maps)
        ranks, data = self.device.ranks, batches.data_digest
        if batches.validation:
            return ranks.on_rank_zero(lambda: checked_score(task, predicted, examples))
        return ranks.on_rank_zero(lambda: full_score(task, predicted, examples, data))
