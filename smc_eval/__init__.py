"""smc-eval: what a sparsification method costs a real model on work that is hard, truly told.

This face holds what a plugin's author imports; it runs nothing and imports no torch.
"""

from smc_eval.card import MethodCard, TaskCard
from smc_eval.errors import DataError, ModelError, SmcError, UsageError
from smc_eval.hookspecs import hookimpl
from smc_eval.method import Method
from smc_eval.pruner import Criterion, Probe, Pruner
from smc_eval.recipe import Recipe
from smc_eval.score import Score, accuracy
from smc_eval.spec import Outside, Spec
from smc_eval.stages import Distillation, Prune, Rewind, Stage, Train
from smc_eval.target import Target
from smc_eval.task import Part, Source, Task
from smc_eval.updater import StepView, Updater

__version__ = "0.2.0"

__all__ = [
    "Criterion",
    "DataError",
    "Distillation",
    "Method",
    "MethodCard",
    "ModelError",
    "Outside",
    "Part",
    "Probe",
    "Prune",
    "Pruner",
    "Recipe",
    "Rewind",
    "Score",
    "SmcError",
    "Source",
    "Spec",
    "Stage",
    "StepView",
    "Target",
    "Task",
    "TaskCard",
    "Train",
    "Updater",
    "UsageError",
    "accuracy",
    "hookimpl",
]  # fmt: skip
