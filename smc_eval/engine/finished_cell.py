"""Finished cell: the predictions, score, certificate and record of a net after its last stage."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from smc_eval.engine.batches import Batches
from smc_eval.engine.certify import certify
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.initial_net import initial_model
from smc_eval.engine.predict import predict, prediction_recipe
from smc_eval.engine.sparse_maps import SparseMaps
from smc_eval.engine.stored_head import head_notes
from smc_eval.engine.usage import Usage
from smc_eval.experiment.cell import Chain
from smc_eval.experiment.checked_score import reported_examples
from smc_eval.experiment.data_facts import DataFacts, data_facts, full_score, score_ceiling
from smc_eval.score import Score
from smc_eval.sparse.mask_sample import sample_masks
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import sparsities
from smc_eval.sparse.weight_change import weight_change
from smc_eval.store.certificate import Certificate, WeightChange
from smc_eval.store.epoch_score import EpochScore
from smc_eval.store.net_uses import NetUse
from smc_eval.store.record import ReachedSparsity, Record, blank_record, scored_record
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.task import Task, used_checkpoint

SYNTHETIC = "synthetic"
"""The name of synthetic data as a source."""

VERSIONS = ("smc-eval", "torch", "transformers", "tokenizers", "sentencepiece", "accelerate", "numpy")


@dataclass(frozen=True)
class FinishedCell:
    """A cell whose stages have run."""

    chain: Chain
    task: Task
    """The task that the net was trained for."""
    net: Net
    use: NetUse
    """What the task uses of the net."""
    usage: Usage
    store: Store
    device: Device
    maps: SparseMaps | None = None
    """The maps that may run sparse; None with dense kernels."""

    def record(self, *, parts: int, one_by_one: bool, masks: bool) -> Record:
        """Predict the reported split, score the predictions, certify the net.

        Batches are cut into `parts`, or hold one example each. With `masks`, the masks stay in the store.
        """
        cell, ranks = self.chain.cell, self.device.ranks
        examples = reported_examples(cell.task)
        recipe = prediction_recipe(cell.task.recipe, parts, one_by_one=one_by_one)
        self.device.seed(self.chain.digest)
        with self.usage.timed("predict"):
            meter = FlopMeter(self.net)
            if self.maps:
                self.maps.predicted.clear()  # a resumed run has not seen the selections before
            predicted = predict(cell.task, self.net.model, examples, recipe, self.device, meter, self.maps)
            score, facts = ranks.on_rank_zero(lambda: self._score(predicted, examples))
        self.usage.spend("predict", meter.spent(), meter.operations.uncounted)
        cost = self.usage.cost(*self.device.peak_memory())  # without the memory of the certificate
        self.device.free_memory(self.net.state.values())
        net = self._gathered_net()
        self.store.check()
        if masks:
            self.store.masks.save(self.chain.digest, net.masks)
        self.store.predictions.save(self.chain.digest, predicted, score.items)
        self.store.mask_samples.save(self.chain.digest, sample_masks(net.full_masks))
        custom, tables = cell.method.card.when == "custom", self.use.tables
        reached = ranks.on_rank_zero(lambda: sparsities(net.model, net.masks, net.scope, tables))
        blank = blank_record(cell, self.chain)
        blank = replace(blank, data=blank.data.with_facts(facts))
        if custom:  # no sparsity was asked: the record has the one that was found
            blank = replace(blank, target=replace(blank.target, sparsity=reached["scope"]))
        return scored_record(
            blank,
            score,
            one_by_one=one_by_one,
            sparsity=ReachedSparsity(**reached),
            certificate=self._certificate(net, None if custom else cell.target),
            cost=cost,
            inputs=self.usage.inputs(self.net.shapes),
            checkpoint=used_checkpoint(self.net.model),
            epochs=tuple(EpochScore(**epoch) for epoch in self.usage.epochs),
            kernels=self.maps and self.maps.record(self.usage.sparse_maps),
            notes=(
                *blank.notes,
                *self.usage.notes,
                *head_notes(self.task),
                *self._group_notes(net),
                *self._data_notes(),
                *(self.maps.notes(recipe.precision) if self.maps else ()),
            ),
            versions=versions() | self._kernel_versions() | self.device.description,
        )

    def _score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> tuple[Score, DataFacts]:
        """The score of the predictions, and the facts about the data that it is a score of."""
        task = self.chain.cell.task
        data = self.chain.data_digest
        score = full_score(task, predicted, examples, data)
        return replace(score, ceiling=score_ceiling(task, data)), data_facts(task, data)

    def _kernel_versions(self) -> dict[str, str]:
        """Versions of what sparse kernels could use in any training of the chain, or in the prediction."""
        found = self.maps.all_versions(self.usage.kernel_versions) if self.maps else []
        return {"numba": ", ".join(each.partition(" ")[2] for each in found)} if found else {}

    def _gathered_net(self) -> Net:
        """The net with all its rows. Of a sharded net, rank 0 has the values, on the CPU."""
        net, ranks = self.net, self.device.ranks
        if not ranks.shard_nets:
            return net
        tensors, masks = net.gathered(net.state), net.gathered(net.masks)
        whole = Net(initial_model(self.task, self.chain.start, self.device), net.scope)
        if ranks.rank == 0:
            whole.masks = masks
            whole.load(tensors)
        whole.changes, whole.regrown = net.changes, net.regrown
        return whole

    def _group_notes(self, net: Net) -> list[str]:
        """A note where groups of an N:M pattern hold outputs: they lie along rows, and rows are inputs."""
        target = self.chain.cell.target
        turned = [name for name in self.use.turned if name in net.masks] if target.is_n_m else []
        if not turned:
            return []
        more = f" and {len(turned) - 1} more" if len(turned) > 1 else ""
        where = f"{turned[0]}{more}: rows of these tensors are inputs (x @ weight)"
        return [f"groups of {target.pattern} hold outputs and not inputs in {where}"]

    def _data_notes(self) -> list[str]:
        """A note where a net that is scored on real data has learned from synthetic data."""
        data = [source for source in self.chain.sources if source.role == "data"]
        read = self.usage.steps or self.usage.scoring_passes
        learned = {source.name for source in data if source.trained}
        if not read or SYNTHETIC not in learned or data[0].name == SYNTHETIC:  # what is scored comes first
            return []
        how = "trained" if self.usage.steps else "calibrated"
        return [f"{how} on synthetic data, not a result; name a folder with text: --data-dir DIR, or hub"]

    def _certificate(self, net: Net, target: Target | None) -> Certificate:
        """The certificate of the whole net, made on rank 0."""
        ranks, moved = self.device.ranks, self._weight_change(net)
        device = self.device.on_cpu() if ranks.shard_nets else self.device
        batches = Batches(self.task, self.task.recipe, self.chain.start, device)
        fan_in = self.chain.cell.method.card.constant_fan_in
        certificate = ranks.on_rank_zero(lambda: certify(net, target, batches, moved, constant_fan_in=fan_in))
        return replace(certificate, unused=self.use.unused)

    def _weight_change(self, net: Net) -> WeightChange:
        """The distance of a net from its start, which does not stay in memory."""
        start = initial_model(self.task, self.chain.start, self.device)
        weights = dict(start.named_parameters())
        return self.device.ranks.on_rank_zero(lambda: WeightChange(**weight_change(net, weights)))


def versions() -> dict[str, Any]:
    """Versions of Python and of the libraries on which numbers may depend."""
    numbers = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            continue
    return numbers | {"deterministic": str(torch.are_deterministic_algorithms_enabled())}
