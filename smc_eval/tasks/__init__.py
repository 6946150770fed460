"""The tasks we ship, one benchmark a file or folder; they come in by the same hook as anybody's."""

from __future__ import annotations

from smc_eval.hookspecs import hookimpl
from smc_eval.task import Task
from smc_eval.tasks.arithmetic.datasets import ARITHMETIC_TASKS as ARITHMETIC
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.race import RaceHigh, RaceMiddle
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.protein.datasets import PROTEIN_TASKS as PROTEIN
from smc_eval.tasks.translation.translation import TRANSLATION_TASKS as TRANSLATION


@hookimpl
def smc_eval_tasks() -> list[type[Task]]:
    """What we ship, family by family."""
    return [Csqa, WinoGrande, RaceMiddle, RaceHigh, *ARITHMETIC, *PROTEIN, *TRANSLATION]
