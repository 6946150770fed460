"""The cost of certificates: seconds of counting and checking, as a share of the seconds of a cell.

    python benchmarks/certificates.py --cells 3

Whole cells of one task run: dense training, pruning, fine-tuning, prediction, certificate. Four parts are
timed: the extra time of measured passes, the tokens of every step, the mask samples, and the certificate.
On one thread, process time is measured. The result is the median share. A cell of the paper has many more
steps, so its share is smaller.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from smc_eval.engine.batches import Passes
from smc_eval.engine.cell_run import CellOptions, CellRun
from smc_eval.engine.certify import certify
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter, is_measured
from smc_eval.engine.progress import Silent
from smc_eval.experiment.cell import Cell, chain
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.protocol import SOUND
from smc_eval.sparse.mask_sample import sample_masks
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.tasks.arithmetic.datasets import MawpsGts

LIMIT = 0.01
"""Target: largest share of the seconds of a cell."""


def clock() -> float:
    """Process time on one thread, else wall-clock time."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Overhead:
    """Seconds spent on measuring, by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.passes: dict[FlopMeter, tuple[list[float], list[float]]] = {}
        """Seconds of the passes of each meter: the others, and the measured ones."""

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with its seconds added to a part."""

        def call(*args: Any, **kwargs: Any) -> Any:
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] = self.seconds.get(part, 0.0) + clock() - began

        return call

    @contextmanager
    def over(self, meter: FlopMeter, tokens: float) -> Iterator[None]:
        """A metered pass, with its seconds."""
        measured, began = is_measured(meter.passes + 1), clock()
        with OVER(meter, tokens):
            yield
        self.passes.setdefault(meter, ([], []))[measured].append(clock() - began)

    def add_measured_passes(self) -> None:
        """Add the seconds of measured passes beyond the median of the other passes of the meter."""
        for others, measured in self.passes.values():
            usual = median(others) if others else 0.0
            extra = sum(max(0.0, seconds - usual) for seconds in measured)
            self.seconds["measured passes"] = self.seconds.get("measured passes", 0.0) + extra


OVER = FlopMeter.over


def share(task: Task, sparsity: float, seed: int) -> float:
    """Print the seconds of measuring of one cell, and return their share."""
    cell = Cell(
        task=task, method=MagnitudeAfter(), target=Target(sparsity=sparsity), protocol=SOUND, seed=seed
    )
    overhead = Overhead()
    tokens = property(overhead.timed("tokens", Passes.tokens.fget))
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(FlopMeter, "over", lambda meter, tokens: overhead.over(meter, tokens)),  # noqa: PLW0108 - binds
        patch.object(Passes, "tokens", tokens),
        patch("smc_eval.engine.finished_cell.certify", overhead.timed("certificate", certify)),
        patch("smc_eval.engine.finished_cell.sample_masks", overhead.timed("mask samples", sample_masks)),
    ):
        store = Store(Path(folder))
        store.open()
        links = chain(cell, task.sources(), len(task.data("train")))
        options = CellOptions(checkpoint_seconds=math.inf)
        began = clock()
        record = CellRun(links, store, Device("cpu"), Silent(), options).run()
        whole = clock() - began
    overhead.add_measured_passes()
    assert record.cost is not None
    measuring = sum(overhead.seconds.values())
    parts = ", ".join(f"{part} {seconds:.3f}" for part, seconds in overhead.seconds.items())
    print(
        f"{cell.label}: {record.cost.steps} steps, {whole:.1f} s, measuring {measuring:.2f} s "
        f"({parts}): {measuring / whole:.2%}"
    )
    return measuring / whole


def main() -> None:
    """Measure some cells; exit with 1 if their median share exceeds the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", default="synthetic", help="data in the official layout")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--cells", type=int, default=3, help="number of cells, each with its own seed")
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps of each training")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.threads} threads, torch {torch.__version__}, sparsity {args.sparsity:g}")
    task = MawpsGts(backbone="scratch", folder=args.data_dir, fold=0)
    recipe = task.recipe.model_copy(update={"steps": args.steps, "epochs": None})
    shares = [share(task.replace(recipe=recipe), args.sparsity, seed) for seed in range(args.cells)]
    print(f"median share {median(shares):.2%}, target {LIMIT:.0%}")
    raise SystemExit(median(shares) > LIMIT)


if __name__ == "__main__":
    main()
