"""Published: the numbers of the SMC-Bench paper, each with its source and what is odd about it.

Liu, Chen, Zhang, Chen, Huang, Jaiswal & Wang (2023), Sparsity May Cry: Let Us Fail (Current) Sparse
Neural Networks Together!, ICLR 2023, arXiv:2303.02141. Read off its figures (`figure`; `hidden` where
another marker lies on top), or taken from the script that drew them (`script`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VALUES_FILE = Path(__file__).with_name("smc-bench.csv")

CITATION = "Liu et al. (2023), Sparsity May Cry, arXiv:2303.02141"


@dataclass(frozen=True)
class PublishedPoint:
    """One number of one figure; tasks and methods go by our names."""

    task: str
    model: str
    method: str
    sparsity: float
    metric: str
    """As a task's card says it: `accuracy (%)`."""
    value: float
    uncertainty: float
    """How far reading it off may be wrong, in the metric's unit; it is no spread over seeds."""
    source: str
    """`script`, `figure`, or `figure, hidden`."""
    note: str = ""
    """Why it should not be taken for a result; empty for most."""


@cache
def published_points() -> tuple[PublishedPoint, ...]:
    """All of them, dense nets at sparsity 0."""
    with VALUES_FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedPoint(
                row["task"],
                row["model"],
                row["method"],
                float(row["sparsity"]),
                row["metric"],
                float(row["value"]),
                float(row["uncertainty"]),
                row["source"],
                row["note"],
            )
            for row in csv.DictReader(file)
        )


def points_for(task: str, model: str, metric: str) -> tuple[PublishedPoint, ...]:
    """The published points of a task in the same metric: of this model if it is among them, else of one.

    `task` goes by its name, without options. The caller says which model it is.
    """
    points = [point for point in published_points() if point.task == task and point.metric == metric]
    models = list(dict.fromkeys(point.model for point in points))
    chosen = next((name for name in models if _same(name, model)), models[0] if models else "")
    return tuple(point for point in points if point.model == chosen)


def metrics(task: str) -> tuple[str, ...]:
    """In which metrics a task was published; none where it was not."""
    return tuple(dict.fromkeys(point.metric for point in published_points() if point.task == task))


def _same(published_as: str, model: str) -> bool:
    """Whether two words name one checkpoint, with its owner or without."""
    return published_as.rpartition("/")[2].lower() == model.rpartition("/")[2].lower()
