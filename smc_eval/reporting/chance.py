"""What a random guess scores on the tasks of a table."""

from __future__ import annotations

from collections.abc import Iterable

from smc_eval import capabilities
from smc_eval.errors import SmcError
from smc_eval.experiment.grid import task_named
from smc_eval.registry import Registry, guarded


def chances_of(labels: Iterable[str], registry: Registry) -> dict[str, float]:
    """Score of a random guess on each of these tasks, by its name with its options.

    Tasks that are not installed, and those that refuse an option, are left out.
    """
    return {label: chance for label in set(labels) if (chance := _chance(label, registry)) is not None}


def _chance(label: str, registry: Registry) -> float | None:
    try:
        task = task_named(label, registry)
        return guarded(task, lambda: capabilities.chance(task))
    except SmcError:
        return None
