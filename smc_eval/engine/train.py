"""Training loop: the only place where a net trains. Do not add other behaviour to the loop itself."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from smc_eval.engine.activations import recomputed
from smc_eval.engine.attention import attention_in_fp32
from smc_eval.engine.batches import Batches, Passes
from smc_eval.engine.checkpoint_interval import CheckpointInterval
from smc_eval.engine.device import Device
from smc_eval.engine.epoch_selection import EpochSelection
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.objective import Objective
from smc_eval.engine.optimizer import gathered_state, make_optimizer, restore_state, set_learning_rate
from smc_eval.engine.optimizer_state import check_optimizer
from smc_eval.engine.perturbation import perturbation
from smc_eval.engine.progress import TRAINING, StepValues, Watcher
from smc_eval.engine.sparse_maps import SparseMaps, TrainingMaps
from smc_eval.engine.stop_signals import STOP_SIGNALS
from smc_eval.engine.training_step import TrainingStep
from smc_eval.engine.usage import Usage
from smc_eval.errors import TrainingError
from smc_eval.experiment.cell import Link
from smc_eval.sparse.derived import not_finite
from smc_eval.sparse.net import Net
from smc_eval.spec import digest
from smc_eval.stages import Train
from smc_eval.store.store import Store
from smc_eval.updater import Updater


class Training:
    """One Train stage in progress: net, optimizer, updater state, generators, step and the best epoch."""

    def __init__(
        self,
        net: Net,
        link: Link,
        batches: Batches,
        usage: Usage,
        device: Device,
        teacher: nn.Module | None,
        maps: SparseMaps | None = None,
    ) -> None:
        assert isinstance(link.stage, Train)
        self.net, self.stage, self.digest = net, link.stage, link.digest
        self.batches, self.usage, self.device = batches, usage, device
        usage.epochs = []
        self.recipe, self.task, self.updater = batches.recipe, batches.task, link.stage.updater
        steps = self.stage.steps_of(self.recipe.total(batches.total))
        self.step = self.first = steps.start
        self.last = steps.stop
        self.chosen = self.recipe.chosen_optimizer
        check_optimizer(link.stage, self.recipe, shards=device.ranks.shard_nets)
        self.optimizer = make_optimizer(self.task, net, self.recipe)
        self.scaler = device.scaler(self.recipe.precision)
        self.objective = Objective(self.task, self.stage.distil, teacher)
        device.seed(self.digest)
        self.generator = device.generator(digest(self.digest, "updater"))
        self.updater_state: dict[str, Tensor] = {}
        self.sparse_maps = maps
        self.maps: TrainingMaps | None = None
        if maps:
            length = self.last - self.first
            self.maps = TrainingMaps(maps, self.updater, length, self.recipe.precision)
        self.stepped = 0
        """Steps of this stage that the optimizer made: neither the updater nor the scaler skipped them."""
        if self.updater:
            net.soft = self.updater.soft
            self.updater_state = self.updater.init(net.weights, net.full_masks)
            self._remask()
        self.meter = FlopMeter(net)
        self.selection = EpochSelection(net, batches, device, maps)

    def run(self, store: Store, watcher: Watcher, checkpoint_seconds: float | None) -> None:
        """Train to the end of the stage, from a checkpoint if there is one.

        A checkpoint is saved every `checkpoint_seconds`; None leaves the interval to `CheckpointInterval`.
        """
        if saved := store.load_partial(self.digest):
            self._restore(saved)
            del saved
            watcher.note(f"resumed at step {self.step} of {self.last}")
        if self.sparse_maps:  # a resumed training may have had other ones before
            self.usage.kernel_versions = self.sparse_maps.all_versions(self.usage.kernel_versions)
        self.net.model.train()
        began, interval = time.perf_counter(), CheckpointInterval(checkpoint_seconds, self._size)
        # in the backward pass, layers are recomputed with the attention of the forward pass
        recomputing = recomputed(self.net.model, wanted=self.recipe.checkpointing)
        with recomputing, attention_in_fp32(), self._stops_after_a_step():
            steps = self.last - self.first
            watcher.stage(f"{TRAINING}{steps} steps", steps, self.step - self.first)
            watcher.measure(self._values)
            while self.step < self.last:
                loss = self._advance()
                watcher.step(self.step - self.first, loss)
                if self.recipe.keep == "best" and self._epoch_ends():
                    self.selection.compare(self.step, self.usage)
                now = time.perf_counter()
                self.usage.seconds["train"] += now - began
                began = now
                stop = STOP_SIGNALS.pending is not None
                if self.device.ranks.broadcast(stop or interval.due) and self.step < self.last:
                    with interval.saving():
                        store.save_partial(self.digest, self._checkpoint())
                    began = time.perf_counter()
                STOP_SIGNALS.check()
        self._check_stepped()
        self.net.soft = False
        self.net.give_room_back()
        self.net.forget_gradients()
        for meter in self._meters:
            self.usage.spend("train", meter.spent(), meter.operations.uncounted)
        if self.maps:
            self.maps.tell(self.usage)
        if step := self.selection.load_best():
            watcher.note(f"kept the net of step {step}, the best of its epochs")
        self.net.apply_masks()

    def _stops_after_a_step(self) -> AbstractContextManager[None]:
        """Within, a stop signal waits for the end of the step. Ranks end at once, as the launcher demands."""
        return STOP_SIGNALS.deferred() if self.device.ranks.size == 1 else nullcontext()

    def _advance(self) -> float:
        """Make one optimizer step; returns the mean loss of its batches."""
        net, updater = self.net, self.updater
        set_learning_rate(self.optimizer, self.recipe.rate(self.step, self.batches.total))
        net.forget_gradients()
        passes, forward_masks = self.batches.step(self.step), net.masks
        with net.masked():
            mean = self._gradients(passes)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)  # it finds overflows, and will skip that step
            for weight in net.all_parameters.values():
                if weight.grad is not None:
                    weight.grad.nan_to_num_(0.0, 0.0, 0.0)  # an updater must not see overflows
        norm = self._checked_norm(mean)
        view = self._view(forward_masks)
        if updater:  # before masked gradients are zeroed: the updater may read them
            with view.unwritten():
                self.updater_state = updater.update(view, self.updater_state)
            self._count_gradients(view, passes.tokens)
            view.write_gradients()
        masking = updater and not updater.straight_through
        if net.soft and masking:  # the M of the pass masks the gradient of W * M
            net.mask_gradients({n: mask for n, mask in forward_masks.items() if n not in view.given})
        elif not net.soft and (self.recipe.clip or masking):
            net.mask_gradients()  # masked weights do not count in the clipping norm, and do not change
        if self.recipe.clip:
            if norm is None or updater or net.masks:  # the gradients may have changed
                norm = net.gradient_norm()
            nn.utils.clip_grads_with_norm_(net.all_parameters.values(), self.recipe.clip, norm)
        with net.holding(view.held):
            self._step_optimizer(skipped=view.skipped)
        if not net.soft:
            net.apply_masks()  # momentum and decay changed masked weights
        self.step += 1
        self._remask()
        self.usage.steps += 1
        self.usage.examples += self._examples_in(self.step - 1)
        return mean

    def _gradients(self, passes: Passes) -> float:
        """Compute the gradients of a step; returns the mean loss of its first pass.

        If the optimizer perturbs the weights, they are those of its last pass. All passes draw the same.
        """
        if not self.chosen.further_passes:
            return self._metered(passes)
        draws = self.device.rng_state()
        mean = self._metered(passes)
        for _ in range(self.chosen.further_passes):
            moves = perturbation(self.chosen, self.net)
            self.net.forget_gradients()
            self.device.set_rng_state(draws)
            with self.net.moved(moves):
                self._metered(passes)
            self.usage.perturbed_passes += passes.count
        return mean

    def _metered(self, passes: Passes) -> float:
        """Compute the gradients of a pass over the batches of a step, and count its operations."""
        maps = self.maps and self.maps.step(self.step - self.first, self.meter)
        with self.meter.over(passes.own_tokens), maps or nullcontext():
            mean = self._backward(passes)
        self.meter.add_remote_tokens(passes.tokens - passes.own_tokens)
        return mean

    def _step_optimizer(self, *, skipped: bool) -> None:
        """Let the optimizer step, unless the updater skips it, or the scaler because of an overflow."""
        scale = self.scaler.get_scale()
        if not skipped:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        if not skipped:
            overflowed = self.scaler.get_scale() < scale  # the only reason for which it falls
            self.usage.skipped_steps += overflowed
            self.stepped += not overflowed

    def _check_stepped(self) -> None:
        """Refuse a training in which no weight ever moved.

        Raises:
            TrainingError: every optimizer step was skipped.
        """
        if self.last == self.first or self.stepped:
            return
        by, advice = "the updater", ""
        if self.updater:
            by = self.updater.identity
        if self.scaler.is_enabled():
            by, advice = "the loss scaler", "; gradients overflow in fp16: try --recipe precision=bf16"
        count = self.last - self.first
        raise TrainingError(f"{by} skipped all {count} steps of this training: no weight moved{advice}")

    def _backward(self, passes: Passes) -> float:
        """Compute the gradients of one step, added up over all ranks; returns the mean loss."""
        mean, ranks = 0.0, self.device.ranks
        if ranks.size > 1:  # one stream for each rank and step, so that a resumed training draws the same
            self.device.seed(digest(self.digest, self.step))
        with ranks.errors_shared():
            for batch, share in passes:
                with self.device.autocast(self.recipe.precision):
                    loss = self.objective(self.net.model, batch) * share
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                mean += loss.item()
        if self.objective.teacher:
            self.usage.teacher_passes += passes.count
        return self.net.all_reduce(mean)

    def _examples_in(self, step: int) -> int:
        """Number of examples in a step. The last step of an epoch may have fewer."""
        size = self.recipe.batch_size * self.recipe.accumulation
        epoch = self.recipe.steps_per_epoch(self.batches.total)
        return min(size, len(self.batches.examples) - (step % epoch) * size)

    def _view(self, forward_masks: Mapping[str, Tensor], *, between: bool = False) -> TrainingStep:
        step, steps = self.step - self.first, self.last - self.first
        by = self.updater.identity if self.updater else ""
        return TrainingStep(
            self.net,
            self.optimizer,
            self.generator,
            step,
            steps,
            by,
            chosen=self.chosen,
            forward_masks=forward_masks,
            between=between,
            sparse_pass=self.maps is not None and self.maps.sparse_pass,
        )

    def _remask(self) -> None:
        """Let the updater set masks for the weights of the next pass."""
        if self.updater and type(self.updater).remask is not Updater.remask:
            view = self._view(self.net.masks, between=True)
            with view.unwritten():
                self.updater_state = self.updater.remask(view, self.updater_state)

    def _count_gradients(self, view: TrainingStep, tokens: int) -> None:
        """Count the step's gradients as dense if the updater read all, or if masked weights learn by them."""
        if view.read or (self.net.soft and self.updater and self.updater.straight_through):
            self.meter.dense_gradients(tokens)
        elif view.read_shares:
            self.meter.wider_gradients(tokens, view.read_shares)

    def _checked_norm(self, loss: float) -> Tensor | None:
        """The norm of all gradients; stops at the first loss or gradient that is not finite, and names it.

        None under a scaler: scaled gradients may overflow, and it then skips the step and lowers the scale.
        """
        norm = None if self.scaler.is_enabled() else self.net.gradient_norm()
        if math.isfinite(loss) and (norm is None or bool(norm.isfinite())):
            return norm
        parameters = self.net.all_parameters.items()
        wild = [f"weight {name!r}" for name, weight in parameters if not bool(weight.isfinite().all())]
        wild += not_finite(self.net.model)
        wild += [
            f"gradient of {name!r}"
            for name, weight in parameters
            if weight.grad is not None and not bool(weight.grad.isfinite().all())
        ]
        first = [name for names in self.device.ranks.gather(wild[:1]) for name in names]
        raise TrainingError(
            f"the loss is {loss:.4g} at step {self.step + 1}; "
            f"first not finite: {first[0] if first else 'the loss alone'}; "
            "try a lower lr or --recipe clip=1"
        )

    def _epoch_ends(self) -> bool:
        return self.step % self.recipe.steps_per_epoch(self.batches.total) == 0 or self.step == self.last

    def _values(self) -> StepValues:
        """The values of the last step, for a tracker. Reads, and draws nothing."""
        rate, sparsity = max(group["lr"] for group in self.optimizer.param_groups), 0.0
        if self.device.ranks.shard_nets:  # to count them, all ranks must take part
            return StepValues(self.usage.steps, float(rate), None)
        if self.net.masks:
            total = sum(weight.numel() for weight in self.net.parameters.values())
            sparsity = 1 - self.net.remaining_count / total
        return StepValues(self.usage.steps, float(rate), sparsity)

    @property
    def _meters(self) -> tuple[FlopMeter, FlopMeter]:
        """Of the passes of training, and of those that select an epoch."""
        return self.meter, self.selection.meter

    @property
    def _size(self) -> int:
        """About the bytes of a checkpoint: the weights and, for most optimizers, two moments of each."""
        return 3 * sum(tensor.nbytes for tensor in self.net.state.values())

    def _checkpoint(self) -> dict[str, Any]:
        """Everything that the next step depends on, and the counts."""
        gathered = self.net.gathered
        return {
            "step": self.step,
            "stepped": self.stepped,
            "weights": gathered(self.net.state),
            "masks": gathered(self.net.masks),
            "counts": [self.net.changes, self.net.regrown],
            "optimizer": gathered_state(self.optimizer, self.net),
            "scaler": self.scaler.state_dict(),
            "memory": gathered(self.updater_state),
            "updater generator": self.generator.get_state(),
            "rng": self.device.rng_state(),
            "best": self.selection.state(),
            "usage": asdict(self.usage),
            "maps": self.maps and self.maps.state(),
            "meters": [meter.state() for meter in self._meters],
        }

    def _restore(self, saved: dict[str, Any]) -> None:
        """Continue from a `_checkpoint`, which loses its tensors: only one copy of each stays in memory."""
        self.step = saved["step"]
        self.stepped = saved.get("stepped", self.step - self.first)
        device, sharded = self.device.torch_device, self.net.sharded
        # masked weights may have hidden values: load them before the masks are set
        self.net.masks = {}
        self.net.load(saved.pop("weights"))
        self.net.masks = {name: mask.to(device) for name, mask in sharded(saved.pop("masks")).items()}
        self.net.changes, self.net.regrown = saved["counts"]
        restore_state(self.optimizer, self.net, saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.updater_state = {name: tensor.to(device) for name, tensor in sharded(saved["memory"]).items()}
        self.generator.set_state(saved["updater generator"])
        self.device.set_rng_state(saved["rng"])
        self.selection.restore(saved["best"])
        parts = self.usage.parts
        self.usage = Usage(**saved["usage"])
        self.usage.parts = max(self.usage.parts, parts)
        if self.maps and saved["maps"]:
            self.maps.restore(saved["maps"])
        for meter, state in zip(self._meters, saved["meters"], strict=True):
            meter.restore(state)
