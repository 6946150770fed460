"""The cost of worker processes: many short cells, one after the other, and several at once."""

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
"""Target: largest ratio of the seconds of all jobs, start-up included, to those of one process."""
STEPS = 4
PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


class Sleepy(Toy):
    """A task whose cells take a given time, and almost no processor time."""

    seconds: float

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of the toy, after a pause."""
        time.sleep(self.seconds / STEPS)
        return super().loss(model, batch)


class StartWatcher(Silent):
    """Records when the first stage begins."""

    began: float | None = None

    def stage(self, label: str, steps: int, done: int) -> None:
        """A stage begins."""
        self.began = self.began or time.perf_counter()


@dataclass(frozen=True)
class RunSeconds:
    """Seconds of a run."""

    wall: float
    start: float
    """Of these, those before the first stage."""
    processor: float
    """Processor seconds of all its processes."""

    def print_line(self, name: str) -> None:
        """Print them in a line."""
        print(f"{name}: {self.wall:.1f} s, {self.start:.1f} s to start; {self.processor:.1f} s of processors")


def measured(chains: list[Chain], jobs: int) -> RunSeconds:
    """The seconds of a run in a new store."""
    watcher = StartWatcher()
    with tempfile.TemporaryDirectory() as folder:
        before, began = processor(), time.perf_counter()
        results = run_cells(
            chains, RunOptions(Path(folder), device="cpu", threads=1, watcher=watcher, jobs=jobs)
        )
        took, worked = time.perf_counter() - began, processor() - before
    assert all(result.sound for result in results), [result.reason for result in results if result.reason]
    return RunSeconds(took, (watcher.began or began) - began, worked)


def processor() -> float:
    """Processor seconds of this process and of its ended children."""
    usages = [resource.getrusage(processes) for processes in PROCESSES]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Measure both; exit with 1 if the ratio exceeds the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each cell")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    recipe = Toy().recipe.model_copy(update={"steps": STEPS})
    task = Sleepy(seconds=args.seconds, recipe=recipe)
    chains = [chain_of(Dense(), Target(), task, seed) for seed in range(args.cells)]
    print(f"{args.cells} cells of {args.seconds:g} s")
    inline, several = measured(chains, 1), measured(chains, args.jobs)
    inline.print_line("in one process")
    several.print_line(f"{args.jobs} jobs")
    ratio = several.wall * args.jobs / inline.wall
    rest = (several.wall - several.start) * args.jobs / (inline.wall - inline.start)
    print(f"all jobs together {ratio:.3f} of one process, target {LIMIT:g}; without the start {rest:.3f}")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
