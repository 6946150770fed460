"""What certificates cost: the seconds that counting and looking take, as a share of a cell's time.

    python benchmarks/certificates.py --cells 3

Cells of one task run whole: dense training, pruning, fine-tuning, prediction, certificate. Timed within
each, by the process's own seconds on one thread: passes that are looked at, less as many others; tokens of
every step; sketches; and all that the certificate holds. Reported is the median share. A cell of the paper
has many times the steps, and so a smaller share.
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

from smc_eval.engine import train as loop
from smc_eval.engine.batches import Batches
from smc_eval.engine.cell_run import CellRun
from smc_eval.engine.certify import certificate_of
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter, looks
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
"""What the project promises, as a share of a cell's time."""


def clock() -> float:
    """Seconds of this process where they are those of its one thread, else of the wall."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Bill:
    """Seconds spent on measuring, by what they were spent on."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.passes: dict[FlopMeter, tuple[list[float], list[float]]] = {}
        """Of each meter: passes that it let by, and those that it looked at."""

    def timing(self, what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose seconds are on the bill."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = clock()
            try:
                return work(*args, **kwargs)
            finally:
                self.spent[what] = self.spent.get(what, 0.0) + clock() - began

        return timed

    @contextmanager
    def over(self, meter: FlopMeter, tokens: float) -> Iterator[None]:
        """A metered pass."""
        looked, began = looks(meter.passes + 1), clock()
        with OVER(meter, tokens):
            yield
        self.passes.setdefault(meter, ([], []))[looked].append(clock() - began)

    def close(self) -> None:
        """Charge what passes that were looked at took beyond the median of the meter's others."""
        for plain, looked in self.passes.values():
            usual = median(plain) if plain else 0.0
            beyond = sum(max(0.0, took - usual) for took in looked)
            self.spent["passes looked at"] = self.spent.get("passes looked at", 0.0) + beyond


OVER = FlopMeter.over


def share(task: Task, sparsity: float, seed: int) -> float:
    """Print what one cell spent on measuring, and return that over all it spent."""
    cell = Cell(
        task=task, method=MagnitudeAfter(), target=Target(sparsity=sparsity), protocol=SOUND, seed=seed
    )
    bill = Bill()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(FlopMeter, "over", lambda meter, tokens: bill.over(meter, tokens)),  # noqa: PLW0108 - binds
        patch.object(Batches, "tokens", bill.timing("tokens", Batches.tokens)),
        patch("smc_eval.engine.cell_run.witnessed", bill.timing("certificate", certificate_of)),
        patch("smc_eval.engine.cell_run.sketch", bill.timing("sketches", sample_masks)),
    ):
        store = Store(Path(folder))
        store.open()
        bound = chain(cell, task.sources(), len(task.data("train")))
        began = clock()
        result = CellRun(bound, store, Device("cpu"), Silent()).run()
        whole = clock() - began
    bill.close()
    spent = sum(bill.spent.values())
    parts = ", ".join(f"{what} {seconds:.3f}" for what, seconds in bill.spent.items())
    print(
        f"{cell.label}: {result.cost['steps']} steps, {whole:.1f} s, measuring {spent:.2f} s "
        f"({parts}): {spent / whole:.2%}"
    )
    return spent / whole


def main() -> None:
    """Measure some cells; end with 1 where their median share is more than promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", default="synthetic", help="data in the official layout")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--cells", type=int, default=3, help="cells, one a seed")
    parser.add_argument(
        "--steps", type=int, default=600, help="optimizer steps of each of a cell's trainings"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{asked.threads} threads, torch {torch.__version__}, sparsity {asked.sparsity:g}")
    loop.CHECKPOINT_SECONDS = math.inf
    task = MawpsGts(backbone="scratch", folder=asked.data_dir, fold=0)
    recipe = task.recipe.model_copy(update={"steps": asked.steps, "epochs": None})
    shares = [share(task.replace(recipe=recipe), asked.sparsity, seed) for seed in range(asked.cells)]
    print(f"median share {median(shares):.2%}, promised {LIMIT:.0%}")
    raise SystemExit(median(shares) > LIMIT)


if __name__ == "__main__":
    main()
