"""The tasks we ship, one benchmark a file or folder; they come in by the same hook as anybody's."""

from __future__ import annotations

from smc_eval.hookspecs import hookimpl
from smc_eval.task import Task
from smc_eval.tasks.arithmetic.sets import TASKS
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.race import RaceHigh, RaceMiddle
from smc_eval.tasks.commonsense.winogrande import WinoGrande


@hookimpl
def smc_eval_tasks() -> list[type[Task]]:
    """What we ship, family by family."""
    return [*TASKS, Csqa, WinoGrande, RaceMiddle, RaceHigh]
