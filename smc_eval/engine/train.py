"""The loop: the only place where a net trains. It should not be bent to add other behaviour."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.engine import optimizer
from smc_eval.engine.activations import recomputed
from smc_eval.engine.batches import Batches, Passes, predict, smaller_recipe
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.objective import Objective
from smc_eval.engine.progress import Watcher
from smc_eval.engine.usage import Usage
from smc_eval.errors import TrainingError
from smc_eval.experiment.cell import Link
from smc_eval.sparse.net import Net
from smc_eval.sparse.shard_group import ShardGroup
from smc_eval.spec import digest
from smc_eval.stages import Train
from smc_eval.store.store import Store


@dataclass
class TrainingStep:
    """What a rule sees: `smc_eval.updater.Moment` over the net as it stands."""

    net: Net
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int
    steps: int
    skipped: bool = False
    read: bool = False
    """Whether somebody asked for the gradients, and so for those of what is masked."""

    @property
    def progress(self) -> float:
        return self.step / self.steps

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return self.net.weights

    @property
    def grads(self) -> Mapping[str, Tensor]:
        self.read = True
        return self.net.gradients

    @property
    def masks(self) -> Mapping[str, Tensor]:
        return self.net.full_masks

    @property
    def shards(self) -> ShardGroup:
        return self.net.shards

    def skip(self) -> None:
        self.skipped = True

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        parameters = self.net.parameters
        grown = self.net.set_masks(masks)
        if not self.net.soft:
            optimizer.forget(self.optimizer, {parameters[name]: back for name, back in grown.items()})


@dataclass
class Best:
    """The best epoch so far: its score and, on the CPU, its weights and masks."""

    value: float = -math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)


class Training:
    """One Train stage under way: net, optimizer, rule state, chance, step and the best epoch."""

    def __init__(
        self, net: Net, link: Link, batches: Batches, usage: Usage, device: Device, teacher: nn.Module | None
    ) -> None:
        assert isinstance(link.stage, Train)
        self.net, self.stage, self.digest = net, link.stage, link.digest
        self.batches, self.usage, self.device = batches, usage, device
        self.recipe, self.task, self.updater = batches.recipe, batches.task, link.stage.updater
        steps = self.stage.steps_of(self.recipe.total(batches.total))
        self.step = self.first = steps.start
        self.last = steps.stop
        self.optimizer = optimizer.optimizer(self.task, net, self.recipe)
        self.scaler = device.scaler(self.recipe.precision)
        self.objective = Objective(self.task, self.stage.distil, teacher)
        device.seed(self.digest)
        self.generator = device.generator(digest(self.digest, "updater"))
        self.memory: dict[str, Tensor] = {}
        self.best = Best()
        if self.updater:
            net.soft = self.updater.soft
            self.memory = self.updater.init(net.weights, net.full_masks)
        self.meter, self.selecting = FlopMeter(net), FlopMeter(net)

    def run(self, store: Store, watcher: Watcher, checkpoint_seconds: float) -> None:
        """Train to the end of the stage, and save a checkpoint every so many seconds; resume from one."""
        if saved := store.load_partial(self.digest):
            self._restore(saved)
            watcher.note(f"resumed at step {self.step} of {self.last}")
        watcher.stage(f"train {self.last - self.first} steps", self.last - self.first, self.step - self.first)
        self.net.model.train()
        saved_at, began = time.monotonic(), time.perf_counter()
        with recomputed(self.net.model, wanted=self.recipe.checkpointing):
            while self.step < self.last:
                loss = self._advance()
                watcher.step(self.step - self.first, loss)
                if self.recipe.keep == "best" and self._epoch_ends():
                    self._select()
                now = time.perf_counter()
                self.usage.seconds["train"] += now - began
                began = now
                late = self.device.ranks.first(time.monotonic() - saved_at > checkpoint_seconds)
                if late and self.step < self.last:
                    store.save_partial(self.digest, self._saved())
                    saved_at, began = time.monotonic(), time.perf_counter()
        self.net.soft = False
        for meter in (self.meter, self.selecting):
            self.usage.spend("train", meter.spent())
        if self.best.weights:
            self.net.masks = {
                name: mask.to(self.device.torch_device) for name, mask in self.best.masks.items()
            }
            self.net.take(self.best.weights)
            watcher.note(f"kept the net of step {self.best.step}, the best of its epochs")
        self.net.apply_masks()

    def _advance(self) -> float:
        """One optimizer step; returns the mean loss of its batches."""
        net, updater = self.net, self.updater
        optimizer.set_rate(self.optimizer, self.recipe.rate(self.step, self.batches.total))
        net.forget_gradients()
        passes = self.batches.step(self.step)
        with net.masked(), self.meter.over(passes.own):  # forward and backward see survivors only
            mean = self._backward(passes)
        self.meter.elsewhere(passes.tokens - passes.own)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)  # which sees what overflowed, and lets that step pass by
            for weight in net.named.values():
                if weight.grad is not None:
                    weight.grad.nan_to_num_(0.0, 0.0, 0.0)  # a rule must not learn from it either
        self._check(mean)
        view = self._view()
        if updater:  # dense gradients are still there to be read
            self.memory = updater.update(view, self.memory)
            self._count_dense(view, passes.tokens)
        if (self.recipe.clip and not net.soft) or (updater and not updater.straight_through):
            net.mask_gradients()  # the dead have no vote in the clipping norm, and who waits does not learn
        if self.recipe.clip:
            nn.utils.clip_grads_with_norm_(net.named.values(), self.recipe.clip, net.gradient_norm())
        if not view.skipped:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        if not net.soft:
            net.apply_masks()  # and gain nothing from momentum or decay
        self.step += 1
        self.usage.steps += 1
        self.usage.examples += self._seen(self.step - 1)
        return mean

    def _backward(self, passes: Passes) -> float:
        """Gradients of one step's batches, those of all ranks added up; returns the mean loss."""
        mean, ranks = 0.0, self.device.ranks
        if ranks.size > 1:  # a stream each, and for each step, so that a resumed training draws the same
            self.device.seed(digest(self.digest, self.step))
        with ranks.together():
            for batch, share in passes:
                with self.device.autocast(self.recipe.precision):
                    loss = self.objective(self.net.model, batch) * share
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                mean += loss.item()
        if self.objective.teacher:
            self.usage.teacher_passes += passes.count
        return self.net.all_reduce(mean)

    def _seen(self, step: int) -> int:
        """Examples of a step: its last of an epoch may have fewer."""
        size, epoch = (
            self.recipe.batch_size * self.recipe.accumulation,
            self.recipe.steps_per_epoch(self.batches.total),
        )
        return min(size, len(self.batches.examples) - (step % epoch) * size)

    def _view(self) -> TrainingStep:
        return TrainingStep(
            self.net, self.optimizer, self.generator, self.step - self.first, self.last - self.first
        )

    def _count_dense(self, view: TrainingStep, tokens: int) -> None:
        """Count the step's gradients as dense where a rule read them, or what is masked learns by them."""
        if view.read or (self.net.soft and self.updater and self.updater.straight_through):
            self.meter.dense_gradients(tokens)

    def _check(self, loss: float) -> None:
        """Stop at the first loss or gradient that is no number, and say where it began.

        Scaled gradients may overflow: the scaler passes over that step and scales less.
        """
        scaled = self.scaler.is_enabled()
        if math.isfinite(loss) and (scaled or bool(self.net.gradient_norm().isfinite())):
            return
        named = self.net.named.items()
        wild = [f"weight {name!r}" for name, weight in named if not bool(weight.isfinite().all())]
        wild += [
            f"gradient of {name!r}"
            for name, weight in named
            if weight.grad is not None and not bool(weight.grad.isfinite().all())
        ]
        found = [one for some in self.device.ranks.gather(wild[:1]) for one in some]
        bad = found[0] if found else "the loss alone"
        raise TrainingError(
            f"the loss is {loss:.4g} at step {self.step + 1}; first not finite: {bad}; "
            "try a lower lr or --recipe clip=1"
        )

    def _epoch_ends(self) -> bool:
        return self.step % self.recipe.steps_per_epoch(self.batches.total) == 0 or self.step == self.last

    def _select(self) -> None:
        """Predict the examples that select, and remember the net if no epoch was better.

        An earlier net with fewer weights gone is no candidate: what counts is scored at the
        sparsity the stage ends with.
        """
        examples = self.batches.held or self.task.data("test")
        with self.net.masked():
            recipe = smaller_recipe(self.recipe, self.batches.parts)
            predicted = predict(self.task, self.net.model, examples, recipe, self.device, self.selecting)
        score = self.device.ranks.lead(lambda: self.task.score(predicted, examples))
        self.usage.selections += 1
        value = score.value if score.higher_is_better else -score.value
        kept, before = (sum(self.net.shards.count(m.values())) for m in (self.net.masks, self.best.masks))
        denser = kept < before
        if value > self.best.value or denser or (self.net.masks and not self.best.masks):
            weights = {name: tensor.cpu().clone() for name, tensor in self.net.state.items()}
            masks = {name: mask.cpu().clone() for name, mask in self.net.masks.items()}
            self.best = Best(value, self.step, weights, masks)

    def _saved(self) -> dict[str, Any]:
        """Everything the next step depends on, and the counts."""
        gathered, best = self.net.gathered, self.best
        return {
            "step": self.step,
            "weights": gathered(self.net.state),
            "masks": gathered(self.net.masks),
            "counts": [self.net.changes, self.net.regrown],
            "optimizer": optimizer.saved(self.optimizer, self.net),
            "scaler": self.scaler.state_dict(),
            "memory": gathered(self.memory),
            "updater generator": self.generator.get_state(),
            "rng": self.device.rng_state(),
            "best": vars(best) | {"weights": gathered(best.weights), "masks": gathered(best.masks)},
            "usage": asdict(self.usage),
            "meters": [self.meter.state(), self.selecting.state()],
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.step = saved["step"]
        device, cut = self.device.torch_device, self.net.cut
        # soft weights live behind their masks: load them before the masks can zero them
        self.net.masks = {}
        self.net.load(saved["weights"])
        self.net.masks = {name: mask.to(device) for name, mask in cut(saved["masks"]).items()}
        self.net.changes, self.net.regrown = saved["counts"]
        optimizer.restore(self.optimizer, self.net, saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.memory = {name: tensor.to(device) for name, tensor in cut(saved["memory"]).items()}
        self.generator.set_state(saved["updater generator"])
        self.device.set_rng_state(saved["rng"])
        best = saved["best"]
        self.best = Best(**best | {"weights": cut(best["weights"]), "masks": cut(best["masks"])})
        parts = self.usage.parts
        self.usage = Usage(**saved["usage"])
        self.usage.parts = max(self.usage.parts, parts)
        for meter, told in zip((self.meter, self.selecting), saved["meters"], strict=True):
            meter.restore(told)
