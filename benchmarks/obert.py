"""oBERT without retraining: the two formulas of its update, and gradients with and without dropout.

    python benchmarks/obert.py --data-dir DIR --seeds 2

A small GTS is trained on MAWPS, fold 0, and pruned in one shot. Its score is that of the pruned net: nothing
is trained after pruning, so that the update alone decides. All variants of a seed prune the same dense net;
`zero` leaves the remaining weights as they are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import ClassVar

from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.experiment.grid import recipe_of
from smc_eval.method import Method
from smc_eval.methods.obert import OptimalBertSurgeon, Surgeon
from smc_eval.methods.omp import Magnitude
from smc_eval.protocol import SOUND
from smc_eval.pruner import Probe, Pruner
from smc_eval.registry import registry
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.testing import chain_of
from smc_eval.testing.cell_runs import nets_of_chain


class Unmended(Surgeon):
    """The masks of a surgeon, without its update."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        """Masks alone."""
        before = {name: weight.clone() for name, weight in probe.weights.items()}
        masks = super().prune(probe, target)
        probe.mend(before)
        return masks


class Once(Method):
    """Train, prune, and no more."""

    card: ClassVar[MethodCard] = MethodCard(name="once", summary="pruned once", source="none", when="after")
    by: Pruner

    def plan(self, target: Target) -> Iterator[Stage]:
        """Train, prune."""
        yield Train()
        if target.sparsity:
            yield Prune(by=self.by, to=target)


def variants(gradients: int) -> dict[str, Pruner]:
    """The pruners that are compared."""
    options = {
        name: getattr(OptimalBertSurgeon(gradients=gradients), name)
        for name in ("block", "gradients", "damping", "memory")
    }
    pruners: dict[str, Pruner] = {"magnitude": Magnitude()}
    for dropout in (False, True):
        words = ", dropout" if dropout else ""
        pruners[f"zero{words}"] = Unmended(**options, mend="single", dropout=dropout)
        for mend in ("single", "joint"):
            pruners[f"{mend}{words}"] = Surgeon(**options, mend=mend, dropout=dropout)
    return pruners


def score(by: Pruner, target: Target, task: Task, seed: int, folder: Path) -> float:
    """The score of the net right after pruning. The dense net of a seed is trained once."""
    record, _ = nets_of_chain(chain_of(Once(by=by), target, task, seed), folder)
    if record.score is None:
        raise SystemExit(f"{by.identity} at {target.sparsity}: the cell has no score")
    return record.score.value


def main() -> None:
    """Train, prune, score, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default="synthetic")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--gradients", type=int, default=256)
    parser.add_argument("--sparsity", default="0.36,0.672,0.893")
    args = parser.parse_args()
    kind = registry().tasks["mawps/gts"]
    recipe = recipe_of(kind, "scratch", SOUND).model_copy(
        update={"epochs": args.epochs, "steps": None, "batch_size": 8, "lr": 2e-3}
    )
    options = {"hidden": 128, "embedding": 128}
    task = kind(backbone="scratch", folder=args.data_dir, fold=0, recipe=recipe, **options)
    levels = [float(word) for word in args.sparsity.split(",")]
    print(f"{'':20}" + "".join(f"{level:>9}" for level in levels), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, by in variants(args.gradients).items():
            rows = [
                [score(by, Target(sparsity=level), task, seed, Path(folder)) for seed in range(args.seeds)]
                for level in levels
            ]
            print(f"{name:20}" + "".join(f"{mean(row):9.1f}" for row in rows), flush=True)


if __name__ == "__main__":
    main()
