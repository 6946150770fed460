"""What worker processes cost: many short cells, one after the other, and several at once."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from smc_eval.cell import Chain
from smc_eval.engine.runner import run
from smc_eval.engine.watch import Silent
from smc_eval.methods.dense import Dense
from smc_eval.target import Target
from smc_eval.testing import Toy, bound

LIMIT = 1.10
"""What the project promises: all jobs' seconds together, starting included, against those of one process."""
STEPS = 4


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


def wall(chains: list[Chain], jobs: int) -> tuple[float, float]:
    """Wall-clock seconds of a run in a new store, and how many of them went before its first stage."""
    watcher = Noticing()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        results = run(chains, Path(folder), device="cpu", threads=1, watcher=watcher, jobs=jobs)
        took = time.perf_counter() - began
    assert all(result.sound for result in results), [result.reason for result in results if result.reason]
    return took, (watcher.began or began) - began


def main() -> None:
    """Print both; end with 1 where several jobs together take too much longer than one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each cell")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    recipe = Toy().recipe.model_copy(update={"steps": STEPS})
    task = Sleepy(seconds=asked.seconds, recipe=recipe)
    chains = [bound(Dense(), Target(), task, seed) for seed in range(asked.cells)]
    inline, first = wall(chains, 1)
    print(
        f"{asked.cells} cells of {asked.seconds:g} s in one process: {inline:.1f} s, {first:.1f} s to begin"
    )
    several, begin = wall(chains, asked.jobs)
    ratio, rest = several * asked.jobs / inline, (several - begin) * asked.jobs / (inline - first)
    print(f"{asked.jobs} jobs: {several:.1f} s, {begin:.1f} s to begin")
    print(f"together {ratio:.3f} of one process, promised {LIMIT:g}; once begun {rest:.3f}")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
