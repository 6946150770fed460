"""Time and size of the HTML page of two thousand made-up records.

python benchmarks/page.py [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from smc_eval.score import Items
from smc_eval.store.mask_samples import MaskSamples
from smc_eval.store.predictions import Predictions
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile
from smc_eval.target import SMC_GRID
from smc_eval.testing import record_with

TASKS = {"csqa": 20, "winogrande": 50, "race/high": 25, "mawps/gts": 0, "svamp/gts": 0}
METHODS = ("lth", "omp-after", "random-after", "gmp", "omp-before", "snip", "random-before", "omp-rigl")
SEEDS, TENSORS, EXAMPLES, PLACES = 5, 144, 400, 256
MOST_SECONDS, MOST_MEGABYTES = 10, 5


def cells() -> list[tuple[str, str, float, int]]:
    """Task, method, sparsity and seed of two thousand pruned nets and the dense ones."""
    pruned = [(method, sparsity) for method in METHODS for sparsity in SMC_GRID]
    return [
        (task, method, sparsity, seed)
        for task in TASKS
        for method, sparsity in [("dense", 0.0), *pruned]
        for seed in range(SEEDS)
    ]


def make_record(task: str, method: str, sparsity: float, seed: int) -> tuple[Record, Items, Any]:
    """A plausible record, its items and its mask samples."""
    generator = random.Random(f"{task} {method} {sparsity} {seed}")
    offset = 0.06 * (METHODS.index(method) if method in METHODS else 0)
    retained = 1 / (1 + math.exp(14 * (sparsity - 0.9 + offset)))
    chance = TASKS[task] / 100
    right = chance + (0.85 - chance) * retained
    rows = tuple((100.0 * (generator.random() < right),) for _ in range(EXAMPLES))
    names = [f"encoder.layer.{n // 6}.{'qkvoud'[n % 6]}.weight" for n in range(TENSORS)]
    sparsities = {name: min(1.0, sparsity * generator.uniform(0.85, 1.15)) for name in names}
    moved = {name: 10 ** generator.uniform(-3, -1) for name in names}
    flops = {"dense": 10**12, "sparse": int(10**12 * (1 - sparsity / 2))}
    score = sum(row[0] for row in rows) / EXAMPLES
    digest = hashlib.sha256(f"{task} {method} {sparsity} {seed}".encode()).hexdigest()
    certificate = {
        "asked": sparsity,
        "reached": sparsity,
        "effective": sparsity,
        "tensors": sparsities,
        "dead_tensors": [name for name, share in sparsities.items() if share == 1],
        "mask_digest": digest,
        "moved": {"scope_remaining": 0.01, "tensors_remaining": moved},
    }
    record = record_with(
        task=task,
        group=task,
        model="roberta-large",
        method=method,
        seed=seed,
        target={"sparsity": sparsity},
        data={"source": "data"},
        digest=digest,
        score={"value": score, "n": EXAMPLES},
        sparsity={"scope": sparsity, "weights": sparsity, "all": 0.9 * sparsity},
        certificate=certificate,
        cost={
            "steps": 1000,
            "seconds": {"train": 60.0},
            "flops": {"train": flops, "predict": flops},
        },
        versions={"python": "3.11", "torch": "2.13"},
    )
    samples = {n: (PLACES, PLACES, bits(generator, 1 - share)) for n, share in sparsities.items()}
    return record, Items("mean", rows), samples


def bits(generator: random.Random, density: float) -> str:
    """A random mask of this density, in base 64."""
    number = int("".join("01"[generator.random() < density] for _ in range(PLACES)), 2)
    return base64.b64encode(number.to_bytes(PLACES // 8, "big")).decode()


def fill(folder: Path) -> int:
    """Write the store, and return the number of its records."""
    records_file, predictions, mask_samples = RecordsFile(folder), Predictions(folder), MaskSamples(folder)
    for cell in cells():
        record, items, samples = make_record(*cell)
        records_file.add(record)
        predictions.save(record.digest, [], items)
        mask_samples.save(record.digest, samples)
    return len(cells())


def main() -> None:
    """Print the time that the page takes, and its size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder in which to keep the store and the page")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        count, page = fill(folder), folder / "page.html"
        command = [sys.executable, "-m", "smc_eval", "report", str(folder), "--html", str(page)]
        began, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - began, os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        size = page.stat().st_size / 1e6
        print(f"{count:,} records: {spent:.1f} s of CPU time (at most {MOST_SECONDS}), {wall:.1f} s in all")
        print(f"page: {size:.2f} MB (at most {MOST_MEGABYTES})")


if __name__ == "__main__":
    main()
