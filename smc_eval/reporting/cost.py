"""What a net took to get, as its record tells it, and who is beaten by nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smc_eval.store.records import Result

CostMeasure = Callable[[Result], float | None]
"""A cost of one record; None where it is not known."""


def steps_cost(record: Result) -> float | None:
    """Optimizer steps."""
    return record.cost.get("steps")


def flops_cost(kind: str) -> CostMeasure:
    """Operations of training and pruning, as if dense or with each weight at its density."""

    def spent(record: Result) -> float | None:
        told = record.cost.get("flops") or {}
        parts = [told.get(part) for part in ("train", "prune") if part in told]
        known = [part[kind] for part in parts if part]
        return float(sum(known)) if known and len(known) == len(parts) else None

    return spent


def prediction_flops(record: Result) -> float | None:
    """Sparse operations of predicting the reported split."""
    told = (record.cost.get("flops") or {}).get("predict")
    return float(told["sparse"]) if told else None


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of gains and their costs, who is beaten by nobody: by no other that has as much for no more, and
    more or for less."""

    def beaten(gain: float, cost: float) -> bool:
        ahead = ((other - gain, cost - its) for other, its in points)
        return any(min(one) >= 0 and max(one) > 0 for one in ahead)

    return [not beaten(gain, cost) for gain, cost in points]
