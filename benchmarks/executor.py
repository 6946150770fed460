"""What worker processes cost: many short cells, one after the other, and several at once."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from smc_eval.engine.progress import Silent
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.experiment.cell import Chain
from smc_eval.methods.dense import Dense
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of

LIMIT = 1.10
"""What the project promises: all jobs' seconds together, starting included, against those of one process."""
STEPS = 4
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


class Sleepy(Toy):
    """A task whose cells take as long as they are told to, and next to no processor."""

    seconds: float

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The toy's, later."""
        time.sleep(self.seconds / STEPS)
        return super().loss(model, batch)


class Noticing(Silent):
    """Notices when the first stage begins."""

    began: float | None = None

    def stage(self, label: str, steps: int, done: int) -> None:
        """A stage begins."""
        self.began = self.began or time.perf_counter()


@dataclass(frozen=True)
class Spent:
    """What a run took, in seconds."""

    wall: float
    begin: float
    """Of these, those before its first stage."""
    processor: float
    """Of all its processes."""

    def told(self, name: str) -> None:
        """Print it in a line."""
        print(f"{name}: {self.wall:.1f} s, {self.begin:.1f} s to begin; {self.processor:.1f} s of processors")


def spent(chains: list[Chain], jobs: int) -> Spent:
    """What a run in a new store takes."""
    watcher = Noticing()
    with tempfile.TemporaryDirectory() as folder:
        before, began = processor(), time.perf_counter()
        results = run_cells(
            chains, RunOptions(Path(folder), device="cpu", threads=1, watcher=watcher, jobs=jobs)
        )
        took, worked = time.perf_counter() - began, processor() - before
    assert all(result.sound for result in results), [result.reason for result in results if result.reason]
    return Spent(took, (watcher.began or began) - began, worked)


def processor() -> float:
    """Processor seconds of this process and those it has waited for."""
    return sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in WHO)


def main() -> None:
    """Print both; end with 1 where several jobs together take too much longer than one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each cell")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    recipe = Toy().recipe.model_copy(update={"steps": STEPS})
    task = Sleepy(seconds=asked.seconds, recipe=recipe)
    chains = [chain_of(Dense(), Target(), task, seed) for seed in range(asked.cells)]
    print(f"{asked.cells} cells of {asked.seconds:g} s")
    inline, several = spent(chains, 1), spent(chains, asked.jobs)
    inline.told("in one process")
    several.told(f"{asked.jobs} jobs")
    ratio = several.wall * asked.jobs / inline.wall
    rest = (several.wall - several.begin) * asked.jobs / (inline.wall - inline.begin)
    print(f"all jobs together {ratio:.3f} of one process, promised {LIMIT:g}; once begun {rest:.3f}")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
