"""Runs of cells on a toy task, to interrupt and to compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from smc_eval.engine.cell_run import CellOptions, CellRun
from smc_eval.engine.device import Device
from smc_eval.engine.progress import Silent
from smc_eval.engine.training_step import TrainingStep
from smc_eval.experiment.budget import Budget
from smc_eval.experiment.cell import Cell, Chain, chain
from smc_eval.method import Method
from smc_eval.protocol import SOUND, Protocol
from smc_eval.sparse.net import Net
from smc_eval.store.cost import ActivitySeconds
from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.target import STRUCTURED_PATTERNS, Scope, Target
from smc_eval.task import Task
from smc_eval.testing.toy import Toy


class Interruption(Exception):
    """Stands for an event that ends a process between two steps."""


class Interrupting(Silent):
    """Ends the run after a number of training steps and prunings."""

    def __init__(self, after: int) -> None:
        self.left = after

    def step(self, done: int, loss: float | None) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interruption


def chain_of(
    method: Method,
    target: Target,
    task: Task | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    protocol: Protocol = SOUND,
) -> Chain:
    """The chain of a cell, on the toy task unless another is given."""
    task = task or Toy()
    cell = Cell(task=task, method=method, target=target, protocol=protocol, seed=seed, budget=budget)
    return chain(cell, task.sources(), len(task.data("train")))


def run_chain(
    cell_chain: Chain,
    folder: Path,
    watcher: Silent | None = None,
    checkpoint_seconds: float | None = None,
    parts: int = 1,
) -> tuple[Record, dict[str, Tensor], dict[str, Tensor]]:
    """Run a chain in a store. Returns its record, and the tensors and masks of its last net.

    Each batch is passed through the net in so many parts.
    """
    store = Store(folder)
    store.open()
    keep = {cell_chain.links[-1].digest, *(stage.back for stage in cell_chain.links if stage.back)}
    options = CellOptions(keep, checkpoint_seconds=checkpoint_seconds, parts=parts)
    record = CellRun(cell_chain, store, Device("cpu", threads=1), watcher or Silent(), options).run()
    stored = store.load(cell_chain.links[-1].digest)
    assert stored is not None
    return record, stored[0], stored[1]


class StagesRun(NamedTuple):
    """A chain that has run."""

    record: Record
    nets: list[tuple[dict[str, Tensor], dict[str, Tensor]]]
    """Tensors and masks after each stage."""


def nets_of_chain(cell_chain: Chain, folder: Path) -> StagesRun:
    """Run a chain in a store. Returns its record, and the tensors and masks after each of its stages."""
    store = Store(folder)
    store.open()
    options = CellOptions(keep={stage.digest for stage in cell_chain.links})
    record = CellRun(cell_chain, store, Device("cpu", threads=1), Silent(), options).run()
    nets: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    for stage in cell_chain.links:
        stored = store.load(stage.digest)
        assert stored is not None, stage
        nets.append(stored[:2])
    return StagesRun(record, nets)


def without_time(record: Record) -> Record:
    """A record without seconds and memory, which differ between two equal runs."""
    assert record.cost is not None
    cost = replace(record.cost, seconds=ActivitySeconds(0, 0, 0), peak_memory_mb=0, peak_memory_of="")
    return replace(record, cost=cost)


def check_measurements(record: Record) -> None:
    """The counts, FLOPs and sizes of a record agree with each other."""
    certificate, cost = record.certificate, record.cost
    assert certificate is not None and cost is not None
    assert certificate.failed == (), "; ".join(certificate.failed)
    if certificate.effective is not None:  # unpruned weights can lie on no path; pruned weights never do
        assert certificate.effective_tensors is not None
        assert certificate.reached <= certificate.effective <= 1
        for name, sparsity in certificate.tensors.items():
            assert certificate.effective_tensors[name] >= sparsity, name
    flops = cost.flops
    assert all(0 <= part.sparse <= part.dense for part in (flops.train, flops.prune, flops.predict))
    assert (flops.train.dense > 0) == (cost.steps > 0) and flops.predict.dense > 0
    assert (flops.prune.dense > 0) == (cost.scoring_passes > 0)
    assert (flops.predict.sparse < flops.predict.dense) == (certificate.reached > 0)
    pruned, size = certificate.in_scope - certificate.remaining, certificate.bytes
    assert size.dense + math.ceil(certificate.in_scope / 8) <= size.bitmask + 4 * pruned
    assert size.csr > 0 and cost.peak_memory_mb > 0
    assert certificate.moved.tensors.keys() == certificate.tensors.keys()


def targets_for(method: Method, scope: Scope = "body") -> list[Target]:
    """Targets that a method must meet, according to its card."""
    if method.card.when in {"none", "custom"}:
        return [Target(scope=scope)]
    words = ["0.3", "0.9"] if "free" in method.card.patterns else []
    words += ["2:4"] if "n:m" in method.card.patterns else []
    words += [f"{unit}:0.5" for unit in STRUCTURED_PATTERNS if unit in method.card.patterns]
    return [Target.parse(word, scope=scope).with_distribution(method.card.distribution) for word in words]


def step_view(
    weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], at: int, steps: int
) -> TrainingStep:
    """The view of step `at` on a net with only these weights, to test an updater on its own.

    The result of the updater is in the view's `net`, which has the masks, and in `skipped`.
    """
    net = Net(
        nn.ParameterDict({name: nn.Parameter(w.clone()) for name, w in weights.items()}), tuple(weights)
    )
    for name, gradient in gradients.items():
        net.parameters[name].grad = gradient.clone()
    optimizer = torch.optim.SGD(net.model.parameters(), lr=1.0)
    return TrainingStep(net, optimizer, torch.Generator().manual_seed(at), at, steps)


def assert_equal(
    first: Sequence[dict[str, Tensor]],
    second: Sequence[dict[str, Tensor]],
    otherwise: str = "two runs differ",
) -> None:
    """Two sequences of named tensors are equal bit for bit, or it says what `otherwise` is the case."""
    for tensors, others in zip(first, second, strict=True):
        assert tensors.keys() == others.keys(), f"{otherwise}: in the names of tensors"
        for name, tensor in tensors.items():
            assert tensor.shape == others[name].shape, f"{otherwise}: in the shape of {name!r}"
            count = int((tensor != others[name]).sum())
            assert torch.equal(tensor, others[name]), f"{otherwise}: in {count} values of {name!r}"
