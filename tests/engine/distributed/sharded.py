"""The program of the tests of shards: cells of a toy and of tiny encoders, on one rank or sharded on two."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import torch
from ranked import HALF, METHODS, RECIPE, Long, Moon, Still, Weighed
from torch import Tensor, nn

from smc_eval.engine.cell_run import CellRun
from smc_eval.engine.distributed import launch, ranks
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.engine.train import Training
from smc_eval.experiment.cell import Chain
from smc_eval.method import Method
from smc_eval.methods.ac_dc import AcDc
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.mest import Mest
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.random import RandomBefore
from smc_eval.methods.set import SparseEvolution
from smc_eval.methods.snip import Snip
from smc_eval.methods.sr_ste import SrSte
from smc_eval.methods.top_kast import TopKast
from smc_eval.optimizer import Optimizer, OptimizerCard
from smc_eval.recipe import Recipe
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.protein.datasets import HpS2C2, HpS2C2Tm
from smc_eval.testing import Toy, chain_of

SMALL = Recipe(steps=6, batch_size=4, accumulation=3, lr=1e-3, weight_decay=0.1, clip=1.0)


def without_dropout(model: nn.Module) -> nn.Module:
    """No dropout, so that the numbers of ranks can be compared."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


class Questions(Csqa):
    def model(self) -> nn.Module:
        return without_dropout(super().model())


class Blanks(WinoGrande):
    def model(self) -> nn.Module:
        return without_dropout(super().model())


class Uphill(Optimizer):
    """Steps with the gradient at a point uphill; its length is that of the whole gradient."""

    card: ClassVar[OptimizerCard] = OptimizerCard(name="uphill", summary="of a test", source="none")
    further_passes: ClassVar[int] = 1
    shardable: ClassVar[bool] = True

    def make(self, groups: Sequence[dict[str, Any]], recipe: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=recipe.momentum)

    def perturb(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], norm: Any) -> Any:
        return {name: 0.5 * gradient / norm(gradients) for name, gradient in gradients.items()}


class Failing(Still):
    """Cannot be trained on any rank."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        raise RuntimeError("the sun has set")


MORE: dict[str, tuple[Method, Target]] = {
    "before": (MagnitudeBefore(), Target(sparsity=0.7, distribution="uniform")),
    "after": (MagnitudeAfter(), Target(sparsity=0.7, distribution="erk")),
    "pattern": (MagnitudeAfter(), Target.parse("2:4")),
    "random": (RandomBefore(), HALF),
    "set": (SparseEvolution(every=2), HALF),
    "mest": (Mest(every=2), HALF),
    "ac-dc": (AcDc(), HALF),
    "top-kast": (TopKast(every=3), HALF),
    "sr-ste": (SrSte(decay=0.01), Target.parse("2:4")),
}


def chains(words: Sequence[str]) -> list[Chain]:
    """The cells of these names."""
    cells = {
        name: chain_of(method, target.with_distribution(method.card.distribution), Weighed())
        for name, (method, target) in (METHODS | MORE).items()
    }
    text, long = {"limit": 40, "recipe": SMALL}, RECIPE.model_copy(update={"tokens": 9})
    selecting = RECIPE.model_copy(
        update={"keep": "best", "validation": 0.1, "batch_size": 8, "accumulation": 1}
    )
    uphill = RECIPE.model_copy(update={"optimizer": Uphill()})
    cells["uphill"] = chain_of(SparseEvolution(every=2), HALF, Weighed(recipe=uphill))
    cells["tokens"] = chain_of(Dense(), Target(), Long(recipe=long))
    cells["best"] = chain_of(Gmp(every=2), HALF, Weighed(recipe=selecting))
    cells["csqa"] = chain_of(Gmp(every=1), HALF, Questions(**text))
    recomputed = {"limit": 40, "recipe": SMALL.model_copy(update={"checkpointing": True})}
    cells["recomputed"] = chain_of(MagnitudeAfter(), HALF, Questions(**recomputed))
    cells["winogrande"] = chain_of(MagnitudeBefore(), HALF, Blanks(**text))
    cells["protein"] = chain_of(Snip(batches=3), HALF, HpS2C2(fold=0, **text))
    cells["degrees"] = chain_of(MagnitudeBefore(), HALF, HpS2C2Tm(fold=0, **text))
    half = SMALL.model_copy(update={"precision": "bf16"})
    cells["bf16"] = chain_of(MagnitudeAfter(), HALF, Questions(limit=40, recipe=half))
    cells["drawn"] = chain_of(Gmp(every=2), HALF, Toy(recipe=RECIPE))
    cells |= {kind.__name__: chain_of(MagnitudeBefore(), HALF, kind()) for kind in (Moon, Failing)}
    return [cells[word] for word in words]


def measure(folder: Path) -> None:
    """Write to a file, after each training, how many numbers a rank holds."""
    run = Training.run

    def measured(self: Training, *args: Any) -> None:
        run(self, *args)
        state = [value for memory in self.optimizer.state.values() for value in memory.values()]
        held = {
            "weights": self.net.all_parameters.values(),
            "masks": self.net.masks.values(),
            "optimizer": state,
        }
        sizes = {what: sum(tensor.numel() for tensor in tensors) for what, tensors in held.items()}
        path = folder / f"held-{type(self.task).__name__}-{launch.rank()}.json"
        path.write_text(json.dumps(sizes), encoding="utf-8")

    Training.run = measured  # type: ignore[method-assign]


def kill_last_rank(step: int) -> None:
    """Kill the last rank after so many steps."""
    advance = Training._advance

    def dying(self: Training) -> float:
        if self.step == step and launch.rank() == launch.world_size() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return advance(self)

    Training._advance = dying  # type: ignore[method-assign]


def main(folder: str, how: str, *words: str) -> None:
    """Run cells in a store, and keep their last nets."""
    CellRun.drop_last_net = lambda self: None  # type: ignore[method-assign]
    ranks.FAILURE_TIMEOUT = timedelta(seconds=3)
    Store(Path(folder)).open()
    measure(Path(folder))
    if "kill" in how:
        kill_last_rank(5)
    shard = "shard" in how
    options = RunOptions(
        Path(folder), device="cpu", threads=1, keep="masks", checkpoint_seconds=0.0, shard=shard
    )
    results = run_cells(chains(words), options)
    if launch.rank() == 0:
        for result in results:
            print(result.status, result.reason)  # noqa: T201  the tests read it


if __name__ == "__main__":
    main(*sys.argv[1:])
