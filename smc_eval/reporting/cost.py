"""What a net took to get, as its record tells it, and who is beaten by nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from smc_eval.store.record import Record

CostMeasure = Callable[[Record], float | None]
"""A cost of one record; None where it is not known."""


def steps_cost(record: Record) -> float | None:
    """Optimizer steps."""
    return record.cost.steps if record.cost else None


def flops_cost(kind: Literal["dense", "sparse"]) -> CostMeasure:
    """Operations of training and pruning, as if dense or with each weight at its density."""

    def spent(record: Record) -> float | None:
        if record.cost is None:
            return None
        train, prune = record.cost.flops.train, record.cost.flops.prune
        return float(train.dense + prune.dense if kind == "dense" else train.sparse + prune.sparse)

    return spent


def prediction_flops(record: Record) -> float | None:
    """Sparse operations of predicting the reported split."""
    return float(record.cost.flops.predict.sparse) if record.cost else None


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of gains and their costs, who is beaten by nobody: by no other that has as much for no more, and
    more or for less."""

    def beaten(gain: float, cost: float) -> bool:
        ahead = ((other - gain, cost - its) for other, its in points)
        return any(min(one) >= 0 and max(one) > 0 for one in ahead)

    return [not beaten(gain, cost) for gain, cost in points]
