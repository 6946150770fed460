"""Walks: cells of a toy carried out, broken off and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from smc_eval.engine.cell_run import CellRun
from smc_eval.engine.device import Device
from smc_eval.engine.progress import Silent
from smc_eval.engine.train import TrainingStep
from smc_eval.experiment.budget import Budget
from smc_eval.experiment.cell import Cell, Chain, chain
from smc_eval.method import Method
from smc_eval.protocol import SOUND
from smc_eval.sparse.net import Net
from smc_eval.store.store import Store
from smc_eval.target import Scope, Target
from smc_eval.task import Task
from smc_eval.testing.toy import Toy

if TYPE_CHECKING:
    from smc_eval.store.records import Result


class Interruption(Exception):
    """Stands for whatever ends a process between two steps."""


class Interrupting(Silent):
    """Ends the run after so many steps and prunings."""

    def __init__(self, after: int) -> None:
        self.left = after

    def step(self, done: int, loss: float) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interruption


def chain_of(
    method: Method, target: Target, task: Task | None = None, seed: int = 0, budget: Budget | None = None
) -> Chain:
    """The chain of a cell on the toy task, or on another."""
    task = task or Toy()
    cell = Cell(task=task, method=method, target=target, protocol=SOUND, seed=seed, budget=budget)
    return chain(cell, task.sources(), len(task.data("train")))


def run_chain(
    link: Chain, folder: Path, watcher: Silent | None = None
) -> tuple[Result, dict[str, Tensor], dict[str, Tensor]]:
    """Walk a chain in a store; its result, and the last net's tensors and masks."""
    store = Store(folder)
    store.open()
    last = link.links[-1].digest
    cell_run = CellRun(
        link,
        store,
        Device("cpu", threads=1),
        watcher or Silent(),
        keep={last, *(n.back for n in link.links if n.back)},
    )
    result = cell_run.run()
    stored = store.load(last)
    assert stored is not None
    return result, stored[0], stored[1]


def without_time(result: Result) -> dict[str, Any]:
    """A record without what may differ between two equal runs: seconds and memory."""
    record = dict(vars(result))
    record["cost"] = {
        k: v for k, v in result.cost.items() if k not in ("seconds", "peak_memory_mb", "peak_memory_of")
    }
    return record


def check_measurements(result: Result) -> None:
    """What the engine measured agrees with itself."""
    found, size = result.certificate, result.certificate["bytes"]
    assert found["failed"] == []
    if found["effective"] is not None:  # whoever is on no path may have survived, and nobody else comes back
        assert found["reached"] <= found["effective"] <= 1
        assert all(found["effective_tensors"][name] >= gone for name, gone in found["tensors"].items())
    for of in result.cost["flops"].values():
        assert 0 <= of["sparse"] <= of["dense"]
    trained, predicted = (result.cost["flops"][of] for of in ("train", "predict"))
    assert (trained["dense"] > 0) == (result.cost["steps"] > 0) and predicted["dense"] > 0
    assert (result.cost["flops"]["prune"]["dense"] > 0) == (result.cost["scoring_passes"] > 0)
    assert (predicted["sparse"] < predicted["dense"]) == (found["reached"] > 0)
    gone = found["in_scope"] - found["kept"]
    assert size["dense"] + math.ceil(found["in_scope"] / 8) <= size["bitmask"] + 4 * gone
    assert size["csr"] > 0 and result.cost["peak_memory_mb"] > 0
    assert found["moved"]["tensors"].keys() == found["tensors"].keys()


def targets_for(method: Method, scope: Scope = "body") -> list[Target]:
    """Targets that a method must meet, as its card says."""
    if method.card.when in {"none", "given"}:
        return [Target(scope=scope)]
    words = ["0.3", "0.9"] if "free" in method.card.patterns else []
    words += ["2:4"] if "n:m" in method.card.patterns else []
    return [Target.parse(word, scope=scope).with_distribution(method.card.distribution) for word in words]


def step_view(
    weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], at: int, steps: int
) -> TrainingStep:
    """The moment before step `at` of a net that is nothing but these weights, to try a rule by hand.

    What the rule did is in its `net`, with its masks, and in `skipped`.
    """
    net = Net(
        nn.ParameterDict({name: nn.Parameter(w.clone()) for name, w in weights.items()}), tuple(weights)
    )
    for name, gradient in gradients.items():
        net.parameters[name].grad = gradient.clone()
    optimizer = torch.optim.SGD(net.model.parameters(), lr=1.0)
    return TrainingStep(net, optimizer, torch.Generator().manual_seed(at), at, steps)


def assert_equal(found: Sequence[dict[str, Tensor]], wanted: Sequence[dict[str, Tensor]]) -> None:
    """Two sequences of named tensors are equal bit for bit."""
    for these, those in zip(found, wanted, strict=True):
        assert these.keys() == those.keys()
        for name in these:
            assert torch.equal(these[name], those[name]), name
