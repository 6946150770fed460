"""Run of one cell: load the last finished stage of its chain, run the others, score the net."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

from torch import Tensor, nn

from smc_eval.capabilities import trained_as
from smc_eval.engine.batch_effect import has_batch_effect
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.finished_cell import FinishedCell
from smc_eval.engine.initial_net import initial_model, initial_net
from smc_eval.engine.net_units import find_net_units
from smc_eval.engine.net_use import find_use
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.progress import Watcher
from smc_eval.engine.prune_stage import check_count, run_prune
from smc_eval.engine.sparse_maps import SparseMaps
from smc_eval.engine.train import Training
from smc_eval.engine.usage import Usage
from smc_eval.errors import StoreError, TrainingError
from smc_eval.experiment.cell import Chain, Link
from smc_eval.experiment.checked_score import reported_examples
from smc_eval.recipe import Recipe
from smc_eval.sparse.derived import not_finite
from smc_eval.sparse.net import Net, state
from smc_eval.sparse.unit_layers import Units
from smc_eval.spec import digest
from smc_eval.stages import Prune, Rewind, Train
from smc_eval.store.net_uses import NetUse
from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.store.stored_net import StoredNet


@dataclass(frozen=True)
class CellOptions:
    """How a cell runs. No number depends on it."""

    keep: Collection[str] = ()
    """Digests whose nets stay in the store: other chains share them, or a Rewind goes back to them."""
    masks: bool = False
    """Keep the masks of the last net in the store."""
    wait: bool = True
    """Wait for a stage that another process works on; else give up the cell as busy."""
    checkpoint_seconds: float | None = None
    """Seconds between two checkpoints of a training. None: at most 3 % of the training time goes to them."""
    parts: int = 1
    """Number of parts into which batches are cut, to fit into memory. Optimizer steps stay the same."""
    records_read: int | None = None
    """Bytes of the records file that were searched for a finished record of the cell; None if none were."""


class CellRun:
    """One cell in progress: its chain, its store and device, and its current net."""

    def __init__(
        self, chain: Chain, store: Store, device: Device, watcher: Watcher, options: CellOptions | None = None
    ) -> None:
        self.chain, self.store, self.device, self.watcher = chain, store, device, watcher
        self.options = options or CellOptions()
        self.task = trained_as(chain.cell.task)
        self.usage = Usage()
        self._net: Net | None = None
        self._use: NetUse | None = None
        self._maps: SparseMaps | None = None

    @property
    def net(self) -> Net:
        """The current net, while the cell runs."""
        assert self._net is not None
        return self._net

    def run(self) -> Record:
        """Run every stage that is not finished yet, then score the net."""
        self.device.reset_peak_memory()
        reported_examples(self.chain.cell.task)  # before any training
        self.run_stages()
        return self._scored()

    def run_stages(self) -> Net:
        """Run every stage that is not finished yet. Returns the last net."""
        self.usage, self._net = Usage(), self._initial_net()
        if self.chain.cell.kernels == "sparse":
            self._maps = SparseMaps(self.net, self.store, self.device)
        done = self._resume(0)
        while done < len(self.chain.links):
            done = self._run_next_link(done)
        return self.net

    def in_smaller_parts(self) -> CellRun:
        """A new run of the same cell, with batches cut into twice as many parts; this one frees its net."""
        self._net = self._maps = None
        options = replace(self.options, parts=2 * self.options.parts)
        return CellRun(self.chain, self.store, self.device, self.watcher, options)

    def drop_last_net(self) -> None:
        """Delete the last net from the store, once the record is written."""
        if self.chain.links:
            self._drop(self.chain.links[-1].digest)

    def _run_next_link(self, done: int) -> int:
        """Run one link, or skip those that another process finished meanwhile; returns how many are done."""
        link = self.chain.links[done]
        with self.store.lock(link.digest, self.watcher.note, wait=self.options.wait):
            further = self._resume(done)
            if further == done:
                self._run_stage(link)
                self.device.free_memory(self.net.state.values())
                self._check(link)
                self._save(link.digest)
                further += 1
        if done:
            self._drop(self.chain.links[done - 1].digest)
        return further

    def _initial_net(self) -> Net:
        stages = [link.stage for link in self.chain.links]
        pruned = any(isinstance(s, Prune) or (isinstance(s, Train) and s.updater) for s in stages)
        target, start = self.chain.cell.target, self.chain.start
        units_of = self._found_units if target.is_structured else None
        return initial_net(self.task, target, start, self.device, self._found_use, units_of, pruned=pruned)

    def _found_use(self, model: nn.Module) -> NetUse:
        """What the task uses of a net before any training: from the store, or found and stored."""
        if self._use is None:
            self._use = self.store.net_uses.load(self.chain.start)
        if self._use is None:
            device = self.device.on_cpu() if self.device.ranks.shard_nets else self.device
            batches = self._all_examples(device)
            self._use = self.device.ranks.on_rank_zero(lambda: find_use(model, batches))
            self.store.net_uses.save(self.chain.start, self._use)
        return self._use

    def _found_units(self, model: nn.Module, names: tuple[str, ...]) -> Units:
        """The heads or neurons of the weights in scope, from the store, or found and stored."""
        name = digest(self.chain.start, self.chain.cell.target.pattern, names)
        units = self.store.net_uses.units(name)
        if units is None:
            batches = self._all_examples(self.device)
            kind = self.chain.cell.target.units
            units = self.device.ranks.on_rank_zero(lambda: find_net_units(model, names, kind, batches))
            self.store.net_uses.save_units(name, units)
        return units

    def _all_examples(self, device: Device) -> Batches:
        """All training examples, also held-out ones: what is found by them holds for every recipe."""
        recipe = self.task.recipe.model_copy(update={"validation": 0.0})
        return Batches(self.task, recipe, self.chain.start, device, self.options.parts)

    def _initial_model(self) -> nn.Module:
        return initial_model(self.task, self.chain.start, self.device)

    def _resume(self, done: int) -> int:
        """Load the last finished link after `done`, if there is one; returns how many links are done."""
        while True:
            # in rising order: another process saves a net before it drops the previous one
            finished = [
                number
                for number, link in enumerate(self.chain.links[done:], done + 1)
                if self.store.finished(link.digest)
            ]
            if not finished:
                return done
            if self._load(self.chain.links[finished[-1] - 1].digest):
                for behind in finished[:-1]:  # a killed run may have left one there
                    self._drop(self.chain.links[behind - 1].digest)
                return finished[-1]

    def _load(self, name: str) -> bool:
        """Load a finished net with its masks and its usage; False if there is none."""
        stored = self.store.load(name)
        if stored is None:
            if self.store.finished(name):
                self.watcher.note(f"the stored net {name[:12]} is broken; computing it again", warning=True)
                self.store.forget(name)
            return False
        tensors, masks, meta = stored
        self.net.masks = {
            name: mask.to(self.device.torch_device) for name, mask in self.net.sharded(masks).items()
        }
        self.net.load(tensors)
        self.usage = Usage(**meta)
        self.net.changes, self.net.regrown = self.usage.changes, self.usage.regrown
        return True

    def _save(self, name: str) -> None:
        self.usage.changes, self.usage.regrown = self.net.changes, self.net.regrown
        stays, meta = name in self.options.keep, asdict(self.usage)
        tensors, masks = self.net.gathered(self.net.state), self.net.gathered(self.net.masks)
        self.store.save(name, StoredNet(tensors, masks, meta), stays=stays)
        self.store.forget_partial(name)

    def _drop(self, name: str) -> None:
        """Delete a net that only this cell needed, to save disk space."""
        if name not in self.options.keep:
            self.store.drop(name)

    def _run_stage(self, link: Link) -> None:
        match link.stage:
            case Train(recipe=recipe):
                assert recipe is not None
                batches = self._batches(recipe)
                batches.one_by_one = recipe.keep == "best" and self._one_by_one()
                batches.data_digest = self.chain.data_digest
                teacher = self._teacher(link.back) if link.back else None
                training = Training(self.net, link, batches, self.usage, self.device, teacher, self._maps)
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

    def _prune(self, stage: Prune, name: str) -> None:
        """Compute and set the masks of a stage."""
        goal = stage.to or self.chain.cell.target.dense()
        self.device.seed(name)
        batches, by = self._batches(self.task.recipe), stage.by.identity
        probe = NetProbe(self.net, batches, name, self.usage, self.device, by)
        run_prune(stage, goal, probe, self.watcher)

    def _rewind(self, back: str) -> None:
        """Load the weights of an earlier point; the masks stay."""
        self.net.load(self._weights(back))

    def _teacher(self, back: str) -> nn.Module:
        """The model of an earlier point, beside the current net."""
        teacher = self._initial_net()
        teacher.load(self._weights(back))
        return teacher.model

    def _weights(self, back: str) -> dict[str, Tensor]:
        """Parameters and buffers of an earlier point of this chain.

        Raises:
            StoreError: its net was deleted from the store. The next run computes the whole chain again.
        """
        if back == self.chain.start:
            return state(self._initial_model())
        stored = self.store.load(back)
        if stored is None:
            for link in self.chain.links:
                self.store.forget(link.digest)
            raise StoreError(
                f"the net {back[:12]} to go back to has left the store; run the same command again"
            )
        return stored[0]

    def _check(self, link: Link) -> None:
        """Check the sparsity and the values after a stage.

        Raises:
            SparsityError: a pruner left another number of weights than it was asked to.
            TrainingError: a parameter, or a matrix that a module makes of parameters, is not finite.
        """
        if isinstance(link.stage, Prune) and link.stage.to is not None:
            check_count(self.net, link.stage.by, link.stage.to)
        parameters = self.net.all_parameters
        wild = self.net.shards.sums(not bool(weight.isfinite().all()) for weight in parameters.values())
        for name, count in zip(parameters, wild, strict=True):
            if count:
                raise TrainingError(
                    f"{name!r} has values that are not finite after {type(link.stage).__name__}"
                )
        for derived in not_finite(self.net.model):
            raise TrainingError(
                f"{derived} is not finite after {type(link.stage).__name__}: perhaps all weights of a row "
                "are pruned; leave it out by --exclude, or choose another --distribution"
            )
        if not self.device.ranks.shard_nets:  # else each rank has its own rows
            self.device.ranks.check_equal("weights", parameters)

    def _scored(self) -> Record:
        """Predict the reported split, score the predictions, certify the net."""
        one_by_one = self._one_by_one()
        finished = FinishedCell(
            self.chain,
            self.task,
            self.net,
            self._use or NetUse(),
            self.usage,
            self.store,
            self.device,
            self._maps,
        )
        self.watcher.stage(f"predict {len(reported_examples(self.chain.cell.task))} examples", 1, 0)
        return finished.record(parts=self.options.parts, one_by_one=one_by_one, masks=self.options.masks)

    def _one_by_one(self) -> bool:
        """Whether examples are predicted one by one: what shares a batch changes what the net makes of them.

        The net before any training decides, so that all cells of a start digest are predicted alike.
        """
        task, start, uses = self.chain.cell.task, self.chain.start, self.store.net_uses
        effect = uses.batch_effect(start, task.digest())
        if effect is None:
            device = self.device.on_cpu() if self.device.ranks.shard_nets else self.device
            model, examples = self._initial_model(), task.data("test")
            effect = self.device.ranks.on_rank_zero(lambda: has_batch_effect(task, model, examples, device))
            uses.save_batch_effect(start, task.digest(), effect=effect)
        return effect
