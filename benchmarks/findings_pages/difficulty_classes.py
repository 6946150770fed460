"""Classes of difficulty of test examples, fixed before any score by class was looked at.

    python benchmarks/findings_pages/difficulty_classes.py DATA_DIR

writes the class of each test example beside the records, so that tables and figures need no data.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from findings_pages.stored import PAGES

from smc_eval.registry import registry
from smc_eval.statistics.shapes import Ints
from smc_eval.task import Task

FILE = "difficulty.json"
BOUNDARY = 75.0
"""Between the classes of HP-S²C2, in °C."""


class Classes(NamedTuple):
    """The classes of difficulty, from easy to hard, and that of each test example."""

    names: tuple[str, ...]
    of_N: Ints
    repeated_N: Ints
    """1 where the example stands in the training data too."""


def classes_of(name: str) -> Classes:
    """The classes of the test examples of a store."""
    content = json.loads((PAGES / "records" / name / FILE).read_text(encoding="utf-8"))
    return Classes(tuple(content["classes"]), np.array(content["of"]), np.array(content["repeated"]))


def write_classes(data: Path) -> None:
    """Write the class of each test example of fold 0: number of operations, distance from the boundary."""
    words = registry().tasks["mawps/gts"](folder=str(data), fold=0)
    problems: Sequence[Any] = words.data("test")
    several = [int(sum(part in "+-*/^" for part in problem.equation) > 1) for problem in problems]
    _write("hurts-gts", words, ("one operation", "more"), several)
    with gzip.open(data / "hotprotein" / "s2c2" / "hp_s2c2.csv.gz", "rt", encoding="utf-8") as file:
        degrees = {row["name"]: float(row["temperature"]) for row in csv.DictReader(file)}
    heat = registry().tasks["hp-s2c2"](folder=str(data), fold=0)
    proteins: Sequence[Any] = heat.data("test")
    far_N = np.array([abs(degrees[protein.name] - BOUNDARY) for protein in proteins])
    thirds = np.quantile(far_N, [1 / 3, 2 / 3])
    near = 2 - np.searchsorted(thirds, far_N, side="right")
    _write("hurts-hp", heat, ("far", "between", "near"), near.tolist())


def _write(name: str, task: Task, names: tuple[str, ...], of: Sequence[int]) -> None:
    folder = PAGES / "records" / name
    if folder.is_dir():
        known = {task.content(example) for example in task.data("train")}
        repeated = [int(task.content(example) in known) for example in task.data("test")]
        content = {"classes": names, "of": of, "repeated": repeated}
        (folder / FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_classes(Path(sys.argv[1]))
