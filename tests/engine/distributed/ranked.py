"""The program of the tests of ranks: cells of a toy, some of which fail on rank 1."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from smc_eval.engine.cell_run import CellRun
from smc_eval.engine.distributed import launch, ranks
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.engine.train import Training
from smc_eval.experiment.cell import Chain
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.methods.grasp import Grasp
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.movement import Movement
from smc_eval.methods.obert import OptimalBertSurgeon
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.methods.rigl import SensitivityRigL
from smc_eval.methods.snip import Snip
from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.methods.synflow import SynFlow
from smc_eval.methods.wanda import Wanda
from smc_eval.recipe import Recipe
from smc_eval.sparse.net import Net
from smc_eval.target import Target
from smc_eval.testing import Example, Toy, ToyNet, chain_of

HALF = Target(sparsity=0.5)
RECIPE = Recipe(steps=12, batch_size=3, accumulation=3, lr=0.01, weight_decay=0.1, clip=1.0)
"""For 52 examples: a pass for each rank and one that they share; an epoch ends with a pass of one example."""


class Still(Toy):
    """No dropout, so that the numbers of ranks can be compared."""

    recipe: Recipe = RECIPE

    def model(self) -> nn.Module:
        net = ToyNet()
        net.drop.p = 0.0
        return net


class Weighed(Still):
    """Examples have different weights in the loss, as in a mean over tokens."""

    def loss_terms(self, example: Example) -> int:
        return 1 + sum(example[0]) % 7

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        return super().collate(examples) | {
            "terms": torch.tensor([self.loss_terms(example) for example in examples])
        }

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        loss_N = nn.functional.cross_entropy(model(batch["tokens"]), batch["answers"], reduction="none")
        return cast("Tensor", (loss_N * batch["terms"]).sum() / batch["terms"].sum())

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        log_NC = model(batch["tokens"]).log_softmax(-1)
        log_MC, answers_M = (each.repeat_interleave(batch["terms"], 0) for each in (log_NC, batch["answers"]))
        return nn.functional.nll_loss(log_MC, answers_M), log_MC


class Long(Weighed):
    """Examples are as long as their number of terms."""

    def length(self, example: Example) -> int:
        return self.loss_terms(example)


class Moon(Weighed):
    """Cannot be trained on rank 1."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        if launch.rank() == 1:
            raise RuntimeError("the moon is full")
        return super().loss(model, batch)


class Short(Weighed):
    """Fits into the memory of rank 1 only with two examples a pass."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        if launch.rank() == 1 and len(batch["answers"]) > 2:
            raise MemoryError
        return super().loss(model, batch)


class Deep(Weighed):
    """A net of blocks."""

    def model(self) -> nn.Module:
        net = ToyNet()
        net.drop = nn.Sequential(*(nn.Linear(10, 10) for _ in range(3)))
        return net


class CrookedNet(ToyNet):
    """A net whose masks are wrong on rank 1."""


class Crooked(Weighed):
    def model(self) -> nn.Module:
        return CrookedNet()


METHODS: dict[str, tuple[Method, Target]] = {
    "dense": (Dense(), Target()),
    "snip": (Snip(batches=4), HALF),
    "rigl": (SensitivityRigL(batches=6, every=2), HALF),
    "gmp": (Gmp(every=2), HALF),
    "obert": (OptimalBertSurgeon(block=4, gradients=9, damping=1e-3), HALF),
    "lth": (LotteryTicket(), Target(sparsity=0.36)),
    "grasp": (Grasp(batches=3), HALF),
    "synflow": (SynFlow(rounds=3), HALF),
    "wanda": (Wanda(batches=5), HALF),
    "sparsegpt": (SparseGPT(batches=5), HALF),
    "movement": (Movement(every=2), HALF),
}


def chains(words: Sequence[str]) -> list[Chain]:
    """The cells of these names."""
    cells = {
        name: chain_of(method, target.with_distribution(method.card.distribution), Weighed())
        for name, (method, target) in METHODS.items()
    }
    cells["tokens"] = chain_of(Dense(), Target(), Long(recipe=RECIPE.model_copy(update={"tokens": 9})))
    selecting = {"keep": "best", "validation": 0.2, "batch_size": 8, "accumulation": 1}
    cells["best"] = chain_of(Dense(), Target(), Weighed(recipe=RECIPE.model_copy(update=selecting)))
    for name in ("wanda", "sparsegpt"):
        method, target = METHODS[name]
        cells[f"deep-{name}"] = chain_of(method, target.with_distribution(method.card.distribution), Deep())
    cells["tuned"] = chain_of(TunedGmp(), HALF, Still())
    cells["drawn"] = chain_of(Gmp(every=2), HALF, Toy(recipe=RECIPE))
    cells |= {kind.__name__: chain_of(MagnitudeBefore(), HALF, kind()) for kind in (Moon, Short, Crooked)}
    return [cells[word] for word in words]


def hurt(how: str) -> None:
    """Let rank 1 fail after a few steps, or set a wrong mask."""
    advance, set_masks = Training._advance, Net.set_masks

    def failing(self: Training) -> float:
        if self.step == 5 and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.step == 5 and how == "alone":
            raise RuntimeError("no other rank has seen it")
        return advance(self)

    def set_crooked_masks(self: Net, masks: Any) -> dict[str, Tensor]:
        grown = set_masks(self, masks)
        if isinstance(self.model, CrookedNet):
            self.masks["down.weight"][0, 0] ^= True
        return grown

    Training._advance = failing  # type: ignore[method-assign]
    Net.set_masks = set_crooked_masks  # type: ignore[method-assign]


def main(folder: str, how: str, *words: str) -> None:
    """Run cells in a store, and keep their last nets."""
    from datetime import timedelta

    CellRun.drop_last_net = lambda self: None  # type: ignore[method-assign]
    ranks.FAILURE_TIMEOUT = timedelta(seconds=3)
    if launch.rank() == 1:
        hurt(how)
    options = RunOptions(Path(folder), device="cpu", threads=1, keep="masks", checkpoint_seconds=0.0)
    results = run_cells(chains(words), options)
    if launch.rank() == 0:
        for result in results:
            print(result.status, result.reason)  # noqa: T201  the tests read it


if __name__ == "__main__":
    main(*sys.argv[1:])
