"""What the tests of shards run: cells of a toy and of tiny encoders, whole on one rank and by rows on two."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from ranked import HALF, METHODS, RECIPE, Long, Moon, Still, Weighed
from torch import Tensor, nn

from smc_eval.engine import cell_run, train
from smc_eval.engine.distributed import launch, ranks
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.experiment.cell import Chain
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.random import RandomBefore
from smc_eval.methods.set import SparseEvolution
from smc_eval.methods.snip import Snip
from smc_eval.recipe import Recipe
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.protein.datasets import HpS2C2, HpS2C2Tm
from smc_eval.testing import Toy, chain_of

SMALL = Recipe(steps=6, batch_size=4, accumulation=3, lr=1e-3, weight_decay=0.1, clip=1.0)


def still(model: nn.Module) -> nn.Module:
    """No unit drops out, so that numbers of ranks can be compared."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


class Questions(Csqa):
    def model(self) -> nn.Module:
        return still(super().model())


class Blanks(WinoGrande):
    def model(self) -> nn.Module:
        return still(super().model())


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
}


def chains(words: Sequence[str]) -> list[Chain]:
    """The cells of a script's words."""
    found = {
        name: chain_of(method, target.with_distribution(method.card.distribution), Weighed())
        for name, (method, target) in (METHODS | MORE).items()
    }
    text, long = {"limit": 40, "recipe": SMALL}, RECIPE.model_copy(update={"tokens": 9})
    chosen = RECIPE.model_copy(update={"keep": "best", "validation": 0.1, "batch_size": 8, "accumulation": 1})
    found["tokens"] = chain_of(Dense(), Target(), Long(recipe=long))
    found["best"] = chain_of(Gmp(every=2), HALF, Weighed(recipe=chosen))
    found["csqa"] = chain_of(Gmp(every=1), HALF, Questions(**text))
    anew = {"limit": 40, "recipe": SMALL.model_copy(update={"checkpointing": True})}
    found["anew"] = chain_of(MagnitudeAfter(), HALF, Questions(**anew))
    found["winogrande"] = chain_of(MagnitudeBefore(), HALF, Blanks(**text))
    found["protein"] = chain_of(Snip(batches=3), HALF, HpS2C2(fold=0, **text))
    found["degrees"] = chain_of(MagnitudeBefore(), HALF, HpS2C2Tm(fold=0, **text))
    half = SMALL.model_copy(update={"precision": "bf16"})
    found["bf16"] = chain_of(MagnitudeAfter(), HALF, Questions(limit=40, recipe=half))
    found["drawn"] = chain_of(Gmp(every=2), HALF, Toy(recipe=RECIPE))
    found |= {kind.__name__: chain_of(MagnitudeBefore(), HALF, kind()) for kind in (Moon, Failing)}
    return [found[word] for word in words]


def weigh(folder: Path) -> None:
    """Write down, after each training, how much a rank holds."""
    whole = train.Training.run

    def weighed(self: train.Training, *told: Any) -> None:
        whole(self, *told)
        state = [value for memory in self.optimizer.state.values() for value in memory.values()]
        held = {"weights": self.net.named.values(), "masks": self.net.masks.values(), "optimizer": state}
        sizes = {what: sum(tensor.numel() for tensor in tensors) for what, tensors in held.items()}
        told_in = folder / f"held-{type(self.task).__name__}-{launch.rank()}.json"
        told_in.write_text(json.dumps(sizes), encoding="utf-8")

    train.Training.run = weighed  # type: ignore[method-assign]


def break_off(step: int) -> None:
    """Let the second rank be killed after so many steps."""
    advance = train.Training._advance

    def dying(self: train.Training) -> float:
        if self.step == step and launch.rank() == launch.world_size() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return advance(self)

    train.Training._advance = dying  # type: ignore[method-assign]


def main(folder: str, how: str, *words: str) -> None:
    """Carry out cells in a store and keep their last nets."""
    cell_run.CellRun.leave = lambda self: None  # type: ignore[method-assign]
    train.CHECKPOINT_SECONDS = 0.0
    ranks.FAILURE_TIMEOUT = timedelta(seconds=3)
    Store(Path(folder)).open()
    weigh(Path(folder))
    if "kill" in how:
        break_off(5)
    shard = "shard" in how
    results = run_cells(
        chains(words), RunOptions(Path(folder), device="cpu", threads=1, keep="masks", shard=shard)
    )
    if launch.rank() == 0:
        for result in results:
            print(result.status, result.reason)  # noqa: T201  what the tests read


if __name__ == "__main__":
    main(*sys.argv[1:])
