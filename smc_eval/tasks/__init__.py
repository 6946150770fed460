"""The built-in tasks and kinds of model. They register by the same hooks as those of plugins."""

from __future__ import annotations

from smc_eval.hookspecs import hookimpl
from smc_eval.kind import ModelKind
from smc_eval.task import Task
from smc_eval.tasks.arithmetic.datasets import ARITHMETIC_TASKS
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.race import RaceHigh, RaceMiddle
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.protein.datasets import PROTEIN_TASKS
from smc_eval.tasks.protein.protein_encoder import ProteinEncoder
from smc_eval.tasks.text_encoder import TextEncoder
from smc_eval.tasks.translation.kind import EncoderDecoder
from smc_eval.tasks.translation.translation import TRANSLATION_TASKS


@hookimpl
def smc_eval_tasks() -> list[type[Task]]:
    """The built-in tasks, family by family."""
    return [Csqa, WinoGrande, RaceMiddle, RaceHigh, *ARITHMETIC_TASKS, *PROTEIN_TASKS, *TRANSLATION_TASKS]


@hookimpl
def smc_eval_kinds() -> list[type[ModelKind]]:
    """The built-in kinds of model."""
    return [TextEncoder, ProteinEncoder, EncoderDecoder]
