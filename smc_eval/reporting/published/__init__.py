"""The numbers of the SMC-Bench paper, each with its source and remarks.

Liu, Chen, Zhang, Chen, Huang, Jaiswal & Wang (2023), Sparsity May Cry: Let Us Fail (Current) Sparse
Neural Networks Together!, ICLR 2023, arXiv:2303.02141. Read from its figures (`figure`; `hidden` if
another marker covers it), or taken from the script that drew them (`script`).
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
    """One number of one figure, with the names of tasks and methods of this package."""

    task: str
    model: str
    method: str
    sparsity: float
    metric: str
    """As in a task's card: `accuracy (%)`."""
    value: float
    uncertainty: float
    """The error of reading the figure, in the metric's unit; not a deviation over seeds."""
    source: str
    """`script`, `figure`, or `figure, hidden`."""
    note: str = ""
    """Why it is not a valid result; empty for most."""


@cache
def published_points() -> tuple[PublishedPoint, ...]:
    """All points; dense nets have sparsity 0."""
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
    """The published points of a task in this metric: of this model if published, else of another.

    `task` is a name without options. Callers must give the model that the points have.
    """
    points = [point for point in published_points() if point.task == task and point.metric == metric]
    models = list(dict.fromkeys(point.model for point in points))
    chosen = next((name for name in models if _same(name, model)), models[0] if models else "")
    return tuple(point for point in points if point.model == chosen)


def metrics(task: str) -> tuple[str, ...]:
    """The metrics in which a task was published; empty if it was not."""
    return tuple(dict.fromkeys(point.metric for point in published_points() if point.task == task))


def _same(published_as: str, model: str) -> bool:
    """Whether two names are of one checkpoint, with or without its owner."""
    return published_as.rpartition("/")[2].lower() == model.rpartition("/")[2].lower()
