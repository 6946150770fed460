"""The built-in tasks, each benchmark in its own folder. They register by the same hook as plugins."""

from __future__ import annotations

from smc_eval.hookspecs import hookimpl
from smc_eval.task import Task
from smc_eval.tasks.arithmetic.datasets import ARITHMETIC_TASKS
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.race import RaceHigh, RaceMiddle
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.protein.datasets import PROTEIN_TASKS
from smc_eval.tasks.translation.translation import TRANSLATION_TASKS


@hookimpl
def smc_eval_tasks() -> list[type[Task]]:
    """The built-in tasks, family by family."""
    return [Csqa, WinoGrande, RaceMiddle, RaceHigh, *ARITHMETIC_TASKS, *PROTEIN_TASKS, *TRANSLATION_TASKS]
