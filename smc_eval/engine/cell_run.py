"""Run of one cell: load the last finished stage of its chain, run the others, score the net."""

from __future__ import annotations

import platform
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.capabilities import excluded, excluded_in_paper, trained_as
from smc_eval.engine.batches import Batches, predict, smaller_recipe
from smc_eval.engine.certify import certify
from smc_eval.engine.device import Device
from smc_eval.engine.distributed.joint import JointNet
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.progress import Watcher
from smc_eval.engine.train import Training
from smc_eval.engine.usage import Usage
from smc_eval.errors import SparsityError, StoreError, TrainingError
from smc_eval.experiment.cell import Chain, Link
from smc_eval.recipe import Recipe
from smc_eval.sparse.allocate import expected
from smc_eval.sparse.mask_sample import sample_masks
from smc_eval.sparse.net import Net, state
from smc_eval.sparse.scope import in_scope, sparsities
from smc_eval.stages import Prune, Rewind, Train
from smc_eval.store.certificate import Certificate
from smc_eval.store.record import (
    ActivityFlops,
    ActivitySeconds,
    Cost,
    FlopCount,
    ReachedSparsity,
    Record,
    blank_record,
    scored_record,
)
from smc_eval.store.store import Store
from smc_eval.target import Target

VERSIONS = ("smc-eval", "torch", "transformers", "accelerate", "numpy")


@dataclass(frozen=True)
class CellOptions:
    """How a cell runs. No number depends on it."""

    keep: Collection[str] = ()
    """Digests whose nets stay in the store: other chains share them, or a Rewind goes back to them."""
    masks: bool = False
    """Keep the masks of the last net in the store."""
    wait: bool = True
    """Wait for a stage that another process works on; else give up the cell as busy."""
    checkpoint_seconds: float = 30.0
    """Seconds between two checkpoints of a training."""
    parts: int = 1
    """Into how many parts batches are cut, to fit into memory. Optimizer steps stay the same."""


class CellRun:
    """One cell under way: its chain, the place where it runs, and its net as it stands."""

    def __init__(
        self, chain: Chain, store: Store, device: Device, watcher: Watcher, options: CellOptions | None = None
    ) -> None:
        self.chain, self.store, self.device, self.watcher = chain, store, device, watcher
        self.options = options or CellOptions()
        self.task = trained_as(chain.cell.task)
        self.usage = Usage()
        self._net: Net | None = None

    @property
    def net(self) -> Net:
        """The net as it stands, while the cell runs."""
        assert self._net is not None
        return self._net

    def run(self) -> Record:
        """Every stage that is not finished yet, then the score."""
        self.device.reset_peak_memory()
        self.usage, self._net = Usage(), self._untrained()
        done = self._resume(0)
        while done < len(self.chain.links):
            done = self._onward(done)
        return self._result()

    def in_smaller_parts(self) -> CellRun:
        """A new run of the same cell, with batches cut into twice as many parts; this one frees its net."""
        self._net = None
        options = replace(self.options, parts=2 * self.options.parts)
        return CellRun(self.chain, self.store, self.device, self.watcher, options)

    def drop_last_net(self) -> None:
        """Delete the last net from the store, once the record is written."""
        if self.chain.links:
            self._drop(self.chain.links[-1].digest)

    def _onward(self, done: int) -> int:
        """One link more; or as many as another process went meanwhile. Returns how many lie behind."""
        link = self.chain.links[done]
        with self.store.lock(link.digest, self.watcher.note, wait=self.options.wait):
            further = self._resume(done)
            if further == done:
                self._carry_out(link)
                self._check(link)
                self._save(link.digest)
                further += 1
        if done:
            self._drop(self.chain.links[done - 1].digest)
        return further

    def _untrained(self) -> Net:
        """The net before any training; its random parts come from the start digest."""
        model, target, ranks = self._made(), self.chain.cell.target, self.device.ranks
        left_out = (
            excluded(self.task, model) if target.scope == "body" else excluded_in_paper(self.task, model)
        )
        names = in_scope(model, target.scope, left_out, target.include, target.exclude)
        if ranks.sharded:
            from smc_eval.engine.distributed.shards import ShardedNet  # FSDP takes seconds to import

            self.device.empty_cache()  # what FSDP hangs on a net goes only when garbage is collected
            return ShardedNet(model, names, ranks, self.device.torch_device.type)
        return Net(model, names) if ranks.size == 1 else JointNet(model, names, ranks)

    def _made(self) -> nn.Module:
        """The model of that net, the first rank's on all: on the device, or on the CPU to be sharded."""
        self.device.seed(self.chain.start, alike=True)
        ranks = self.device.ranks
        model = self.task.model().to("cpu" if ranks.sharded else self.device.torch_device)
        ranks.share(state(model).values())
        return model

    def _resume(self, done: int) -> int:
        """Load the deepest finished link, if one lies ahead; returns how many links lie behind."""
        while True:
            # upwards: who is ahead on the same way saves a net before it drops the one before
            finished = [
                number
                for number, link in enumerate(self.chain.links[done:], done + 1)
                if self.store.finished(link.digest)
            ]
            if not finished:
                return done
            if self._load(self.chain.links[finished[-1] - 1].digest):
                for behind in finished[:-1]:  # a walk that was killed may have left one there
                    self._drop(self.chain.links[behind - 1].digest)
                return finished[-1]

    def _load(self, digest: str) -> bool:
        """Take over a finished net with its masks and its history; False where there is none."""
        stored = self.store.load(digest)
        if stored is None:
            if self.store.finished(digest):
                self.watcher.note(f"the stored net {digest[:12]} is broken; computing it again", warning=True)
                self.store.forget(digest)
            return False
        tensors, masks, meta = stored
        self.net.masks = {
            name: mask.to(self.device.torch_device) for name, mask in self.net.cut(masks).items()
        }
        self.net.load(tensors)
        self.usage = Usage(**meta)
        self.net.changes, self.net.regrown = self.usage.changes, self.usage.regrown
        return True

    def _save(self, digest: str) -> None:
        self.usage.changes, self.usage.regrown = self.net.changes, self.net.regrown
        stays, meta = digest in self.options.keep, asdict(self.usage)
        tensors, masks = self.net.gathered(self.net.state), self.net.gathered(self.net.masks)
        self.store.save(digest, tensors, masks, meta, stays=stays)
        self.store.forget_partial(digest)

    def _drop(self, digest: str) -> None:
        """Delete a net that only this cell passed by, to spare the disk."""
        if digest not in self.options.keep:
            self.store.drop(digest)

    def _carry_out(self, link: Link) -> None:
        match link.stage:
            case Train(recipe=recipe):
                assert recipe is not None
                batches = self._batches(recipe)
                teacher = self._teacher(link.back) if link.back else None
                training = Training(self.net, link, batches, self.usage, self.device, teacher)
                training.run(self.store, self.watcher, self.options.checkpoint_seconds)
                self.usage = training.usage
            case Prune() as stage:
                with self.usage.timed("prune"):
                    self._prune(stage, link.digest)
            case Rewind():
                assert link.back is not None
                self._rewind(link.back)

    def _batches(self, recipe: Recipe) -> Batches:
        self.usage.parts = max(self.usage.parts, self.options.parts)
        return Batches(self.task, recipe, self.chain.start, self.device, self.options.parts)

    def _prune(self, stage: Prune, digest: str) -> None:
        """Decide masks, in as many rounds of equal ratio as the stage asks."""
        goal = stage.to or self.chain.cell.target.dense()
        levels = round_targets(goal, self.net.density, stage.rounds)
        self.watcher.stage(f"prune to {goal.sparsity:.4g}" if stage.to else "take masks", len(levels), 0)
        self.device.seed(digest)
        probe = NetProbe(self.net, self._batches(self.task.recipe), digest, self.usage, self.device)
        for number, to in enumerate(levels, 1):
            self.net.set_masks(stage.by.prune(probe, to))
            self.watcher.step(number, 0.0)
        for meter in probe.meters.values():
            self.usage.spend("prune", meter.spent())

    def _rewind(self, back: str) -> None:
        """The weights of an earlier point under the masks of now."""
        self.net.load(self._weights(back))

    def _teacher(self, back: str) -> nn.Module:
        """The net of an earlier point, beside the one on its way."""
        teacher = self._untrained()
        teacher.load(self._weights(back))
        return teacher.model

    def _weights(self, back: str) -> dict[str, Tensor]:
        """Parameters and buffers of an earlier point of this chain.

        Raises:
            StoreError: somebody took its net out of the store; the whole chain runs again then.
        """
        if back == self.chain.start:
            return state(self._made())
        stored = self.store.load(back)
        if stored is None:
            for link in self.chain.links:
                self.store.forget(link.digest)
            raise StoreError(
                f"the net {back[:12]} to go back to has left the store; issue the same command again"
            )
        return stored[0]

    def _check(self, link: Link) -> None:
        """A stage's promise, checked where it was made."""
        if isinstance(link.stage, Prune) and link.stage.to is not None:
            wanted, left = expected(self.net.shapes, link.stage.to), self.net.remaining_count
            if left != wanted:
                raise SparsityError(
                    f"{link.stage.by.identity} was asked to leave {wanted} weights "
                    f"(sparsity {link.stage.to.sparsity:.6g}) and left {left}"
                )
        named = self.net.named
        wild = self.net.shards.sums(not bool(weight.isfinite().all()) for weight in named.values())
        for name, found in zip(named, wild, strict=True):
            if found:
                raise TrainingError(
                    f"{name!r} holds values that are no numbers after {type(link.stage).__name__}"
                )
        if not self.device.ranks.sharded:  # then each has its own
            self.device.ranks.same("weights", named)

    def _result(self) -> Record:
        """Predict the reported split, score, certify."""
        cell, ranks = self.chain.cell, self.device.ranks
        examples = cell.task.data("test")
        self.watcher.stage(f"predict {len(examples)} examples", 1, 0)
        self.device.seed(self.chain.digest)
        with self.usage.timed("predict"):
            meter, recipe = FlopMeter(self.net), smaller_recipe(cell.task.recipe, self.options.parts)
            predicted = predict(cell.task, self.net.model, examples, recipe, self.device, meter)
            score = ranks.lead(lambda: cell.task.score(predicted, examples))
        self.usage.spend("predict", meter.spent())
        cost = self._cost()  # before the certificate, whose memory is no part of it
        net = self._whole()
        self.store.check()
        if self.options.masks:
            self.store.masks.save(self.chain.digest, net.masks)
        self.store.predictions.save(self.chain.digest, predicted, score.items)
        self.store.mask_samples.save(self.chain.digest, sample_masks(net.full_masks))
        custom = cell.method.card.when == "custom"
        reached = ranks.lead(lambda: sparsities(net.model, net.masks, net.scope))
        blank = blank_record(cell, self.chain)
        if custom:  # no sparsity was asked: the record names the one that was found
            blank = replace(blank, target=replace(blank.target, sparsity=reached["scope"]))
        return scored_record(
            blank,
            score,
            sparsity=ReachedSparsity(**reached),
            certificate=self._certificate(net, None if custom else cell.target),
            cost=cost,
            versions=versions() | self.device.description,
        )

    def _whole(self) -> Net:
        """The net with all its rows: of a sharded one on the first rank's CPU; the others have its shape."""
        net, ranks = self.net, self.device.ranks
        if not ranks.sharded:
            return net
        tensors, masks, whole = net.gathered(net.state), net.gathered(net.masks), Net(self._made(), net.scope)
        if ranks.rank == 0:
            whole.masks = masks
            whole.load(tensors)
        whole.changes, whole.regrown = net.changes, net.regrown
        return whole

    def _certificate(self, net: Net, target: Target | None) -> Certificate:
        """What the first rank sees of the whole net."""
        ranks, start = self.device.ranks, self._made()
        device = self.device.on_cpu() if ranks.sharded else self.device
        batches = Batches(self.task, self.task.recipe, self.chain.start, device)
        return ranks.lead(lambda: certify(net, target, batches, start))

    def _cost(self) -> Cost:
        usage, (most, whose) = self.usage, self.device.peak_memory()
        return Cost(
            steps=usage.steps,
            examples=usage.examples,
            scoring_passes=usage.scoring_passes,
            teacher_passes=usage.teacher_passes,
            selections=usage.selections,
            seconds=ActivitySeconds(**usage.seconds),
            flops=ActivityFlops(**{activity: FlopCount(**count) for activity, count in usage.flops.items()}),
            peak_memory_mb=round(most / 2**20),
            peak_memory_of=whose,
            parts=usage.parts,
        )


def round_targets(goal: Target, density: float, count: int) -> list[Target]:
    """Targets that lead in so many rounds of equal ratio from a density to the goal, the goal last.

    Between two N:M patterns there may be none, and then there are fewer rounds.
    """
    levels = [
        goal.at(1 - density * (goal.density / density) ** (number / count)) for number in range(1, count)
    ]
    sparser = [level for level in dict.fromkeys(levels) if 1 - density < level.sparsity < goal.sparsity]
    return [*sparser, goal]


def versions() -> dict[str, Any]:
    """Versions of what the numbers may depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"deterministic": str(torch.are_deterministic_algorithms_enabled())}
