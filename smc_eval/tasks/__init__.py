"""The tasks we ship, one benchmark a file or folder; they come in by the same hook as anybody's."""

from __future__ import annotations

from smc_eval.hookspecs import hookimpl
from smc_eval.task import Task
from smc_eval.tasks.arithmetic import sets as arithmetic
from smc_eval.tasks.translation import tasks as translation


@hookimpl
def smc_eval_tasks() -> list[type[Task]]:
    """What we ship, family by family."""
    return [*arithmetic.TASKS, *translation.TASKS]
