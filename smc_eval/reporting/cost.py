"""The costs of a net, read from its record, and the Pareto front of gains and costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from smc_eval.store.record import Record

CostMeasure = Callable[[Record], float | None]
"""A cost of one record; None if it is unknown."""


def steps_cost(record: Record) -> float | None:
    """Optimizer steps."""
    return record.cost.steps if record.cost else None


def flops_cost(kind: Literal["dense", "sparse"]) -> CostMeasure:
    """FLOPs of training and pruning: as if the net were dense, or with each weight at its density."""

    def cost(record: Record) -> float | None:
        if record.cost is None:
            return None
        train, prune = record.cost.flops.train, record.cost.flops.prune
        return float(train.dense + prune.dense if kind == "dense" else train.sparse + prune.sparse)

    return cost


def prediction_flops(record: Record) -> float | None:
    """Sparse FLOPs of predicting the reported split."""
    return float(record.cost.flops.predict.sparse) if record.cost else None


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points (gain, cost) are on the Pareto front.

    A point is dominated if another one has at least its gain at no higher cost, and is strictly better in one
    of them.
    """

    def dominated(gain: float, cost: float) -> bool:
        margins = ((other_gain - gain, cost - other_cost) for other_gain, other_cost in points)
        return any(min(margin) >= 0 and max(margin) > 0 for margin in margins)

    return [not dominated(gain, cost) for gain, cost in points]
