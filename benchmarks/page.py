"""The page of two thousand made-up records: how long it takes, and how large it is.

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


def cells() -> list[tuple[str, str, float, int]]:
    """Task, method, sparsity and seed of two thousand nets and the dense ones."""
    pruned = [(m, s) for m in METHODS for s in SMC_GRID]
    return [(t, m, s, seed) for t in TASKS for m, s in [("dense", 0.0), *pruned] for seed in range(SEEDS)]


def made(task: str, method: str, sparsity: float, seed: int) -> tuple[Record, Items, Any]:
    """One record, its items and its sketch, that look as if a net had been trained."""
    chance = random.Random(f"{task} {method} {sparsity} {seed}")  # noqa: S311 - made up
    fall = 1 / (
        1 + math.exp(14 * (sparsity - 0.9 + 0.06 * (METHODS.index(method) if method in METHODS else 0)))
    )
    right = TASKS[task] / 100 + (0.85 - TASKS[task] / 100) * fall
    rows = tuple((100.0 * (chance.random() < right),) for _ in range(EXAMPLES))
    names = [f"encoder.layer.{n // 6}.{'qkvoud'[n % 6]}.weight" for n in range(TENSORS)]
    gone = {name: min(1.0, sparsity * chance.uniform(0.85, 1.15)) for name in names}
    moved = {name: 10 ** chance.uniform(-3, -1) for name in names}
    operations = {"dense": 10**12, "sparse": int(10**12 * (1 - sparsity / 2))}
    score = sum(row[0] for row in rows) / EXAMPLES
    digest = hashlib.sha256(f"{task} {method} {sparsity} {seed}".encode()).hexdigest()
    result = record_with(
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
        certificate={"ok": True, "failed": [], "asked": sparsity, "reached": sparsity, "tensors": gone}
        | {"effective": sparsity, "dead_tensors": [n for n, s in gone.items() if s == 1], "dead_units": {}}
        | {"mask_digest": digest, "moved": {"scope_remaining": 0.01, "tensors_remaining": moved}},
        cost={
            "steps": 1000,
            "seconds": {"train": 60.0},
            "flops": {"train": operations, "predict": operations},
        },
        versions={"python": "3.11", "torch": "2.13"},
    )
    masks = {n: (PLACES, PLACES, bits(chance, 1 - share)) for n, share in gone.items()}
    return result, Items("mean", rows), masks


def bits(chance: random.Random, density: float) -> str:
    """A mask drawn by lot."""
    number = int("".join("01"[chance.random() < density] for _ in range(PLACES)), 2)
    return base64.b64encode(number.to_bytes(PLACES // 8, "big")).decode()


def fill(folder: Path) -> int:
    """Write the store; how many records it has."""
    book, answers, sketches = RecordsFile(folder), Predictions(folder), MaskSamples(folder)
    for place in cells():
        result, items, masks = made(*place)
        book.add(result)
        answers.save(result.digest, [], items)
        sketches.save(result.digest, masks)
    return len(cells())


def main() -> None:
    """Print what the page takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder to leave the store and the page in")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as passing:
        folder = keep or Path(passing)
        count, page = fill(folder), folder / "page.html"
        words = [sys.executable, "-m", "smc_eval", "report", str(folder), "--html", str(page)]
        began, before = time.perf_counter(), os.times()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - began, os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"{count:,} records: {spent:.1f} s of processor, {wall:.1f} s in all (promise: 10)")
        print(f"page: {page.stat().st_size / 1e6:.2f} MB (promise: 5)")


if __name__ == "__main__":
    main()
