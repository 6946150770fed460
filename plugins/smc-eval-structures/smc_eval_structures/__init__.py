"""Structures for smc-eval: HotProtein's sets from backbone coordinates, read by the encoder of ESM-IF1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smc_eval import Task, hookimpl
from smc_eval_structures.model_kind import StructureKind
from smc_eval_structures.tasks import STRUCTURE_TASKS

if TYPE_CHECKING:
    from smc_eval.kind import ModelKind


@hookimpl
def smc_eval_kinds() -> list[type[ModelKind]]:
    """The kind of its models."""
    return [StructureKind]


@hookimpl
def smc_eval_tasks() -> list[type[Task]]:
    """Its tasks, those with published results first."""
    return list(STRUCTURE_TASKS)
